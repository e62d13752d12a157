"""What we ship for process managers is what they understand, and its parts agree with each other."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

from brokers import TOP, folder
from worker import BUILD, OUTFALL, WorkerCase

KUBERNETES = TOP / "config" / "kubernetes"


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


class Kubernetes(WorkerCase):
    def setUp(self):
        super().setUp()
        documents = list(yaml.safe_load_all((BUILD / "worker.yaml").read_text()))
        self.by_kind = {document["kind"]: document for document in documents}
        self.pod = self.by_kind["Deployment"]["spec"]["template"]["spec"]
        self.container = self.pod["containers"][0]
        self.outfall_conf = self.by_kind["ConfigMap"]["data"]["outfall.conf"]

    def test_the_configuration_is_good(self):
        secret = self.directory / "rabbitmq.pass"
        secret.write_text("s3cret\n")
        conf = self.directory / "outfall.conf"
        conf.write_text(
            self.outfall_conf.replace("/run/secrets/outfall/rabbitmq.pass", str(secret)).replace(
                "/run/outfall/", f"{self.directory}/"
            )
        )
        done = self.run_outfall("check", "-c", conf)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"^outfall: configuration: \S+: ok \(.*\)\n$")  # no warning

    def test_the_times_agree(self):
        kill = self.pod["terminationGracePeriodSeconds"]
        stop = {e["name"]: e["value"] for e in self.container["env"]}["OUTFALL_STOP_TIMEOUT"]
        hook = self.container["lifecycle"]["preStop"]["exec"]["command"]
        self.assertLess(seconds(stop), kill)
        self.assertGreater(seconds(stop), kill / 2)
        self.assertLessEqual(seconds(hook[hook.index("--timeout") + 1]), seconds(stop))
        self.assertNotRegex(self.outfall_conf, r"drain\s*\{[^}]*timeout")  # "auto"

    def test_hook_and_probes_find_the_admin_server(self):
        hook = self.container["lifecycle"]["preStop"]["exec"]["command"]
        socket = re.search(r'admin \{ socket = "(.*?)"  http = "(.*?):(\d+)"', self.outfall_conf)
        self.assertEqual(hook[hook.index("-s") + 1], socket[1])
        self.assertEqual(socket[2], "0.0.0.0")
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        self.assertEqual(ports["admin"], int(socket[3]))
        for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            self.assertEqual(self.container[probe]["httpGet"], {"path": path, "port": "admin"})
        mounts = {mount["mountPath"] for mount in self.container["volumeMounts"]}
        self.assertIn(str(Path(socket[1]).parent), mounts)  # the root is read-only
        self.assertEqual(
            {mount["name"] for mount in self.container["volumeMounts"]},
            {volume["name"] for volume in self.pod["volumes"]},
        )

    def test_the_hook_is_a_command_of_ours(self):
        """With a socket that is not there it fails for that, and not for its options."""
        hook = self.container["lifecycle"]["preStop"]["exec"]["command"]
        self.assertEqual(hook[0], self.container["command"][0])
        done = self.run_outfall(*[word.replace("/run/outfall", str(self.directory)) for word in hook[1:]])
        self.assertNotIn(done.returncode, (0, 64), done.stderr)
        self.assertIn("admin.sock", done.stderr)

    def test_keda_scales_that_deployment_by_that_queue(self):
        documents = yaml.safe_load_all((KUBERNETES / "keda.yaml").read_text())
        by_kind = {document["kind"]: document for document in documents}
        spec = by_kind["ScaledObject"]["spec"]
        self.assertEqual(spec["scaleTargetRef"]["name"], self.by_kind["Deployment"]["metadata"]["name"])
        trigger = spec["triggers"][0]
        self.assertIn(f'queue "{trigger["metadata"]["queueName"]}"', self.outfall_conf)
        self.assertEqual(
            trigger["authenticationRef"]["name"], by_kind["TriggerAuthentication"]["metadata"]["name"]
        )


@unittest.skipUnless(shutil.which("systemd-analyze"), "LOUD SKIP: no systemd-analyze here")
class Unit(unittest.TestCase):
    def verify(self, built, name):
        text = (BUILD / built).read_text()
        text, n = re.subn(r"(?m)^(Exec\w+)=\S*/outfall ", rf"\1={OUTFALL} ", text)
        self.assertEqual(n, 2)
        path = folder("unit") / name
        path.write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        ours = [line for line in done.stdout.splitlines() if name in line]
        self.assertEqual((ours, done.returncode), ([], 0), done.stdout)
        return text

    def test_one_worker(self):
        text = self.verify("outfall.service", "outfall.service")
        for line in ("Type=notify", "KillMode=mixed", "OOMPolicy=continue", "RuntimeDirectory=outfall",
                     "LimitCORE=0", "UMask=0027", "ProtectProc=invisible"):  # fmt: skip
            self.assertIn(f"\n{line}\n", text)
        reload = re.findall(r"(?m)^ExecReload=(.*)$", text)
        self.assertRegex(reload[0], r"/outfall check -c /etc/outfall/outfall.conf$")  # in front of the signal
        self.assertEqual(reload[1:], ["/bin/kill -HUP $MAINPID"])

    def test_what_it_leaves_open_is_little(self):
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=18", str(BUILD / "outfall.service")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout[-2000:])

    def test_many(self):
        text = self.verify("outfall@.service", "outfall@one.service")
        self.assertIn("run -c /etc/outfall/%i.conf\n", text)
        self.assertIn("\nRuntimeDirectory=outfall/%i\n", text)


class Installed(unittest.TestCase):
    def test_they_are_where_the_documentation_says(self):
        with tempfile.TemporaryDirectory(dir=folder("install")) as to:
            subprocess.run(["cmake", "--install", str(BUILD), "--prefix", to], check=True, stdout=subprocess.PIPE)
            share = Path(to, "share", "outfall")
            for name in ("outfall.service", "outfall@.service", "outfall.supervisor.conf",
                         "kubernetes/worker.yaml", "kubernetes/keda.yaml"):  # fmt: skip
                self.assertTrue((share / name).is_file(), name)

    def test_all_start_the_program_that_was_installed(self):
        binary = f"{re.search(r'^CMAKE_INSTALL_PREFIX:PATH=(.*)$', (BUILD / 'CMakeCache.txt').read_text(), re.M)[1]}/bin/outfall"
        for name in ("outfall.service", "outfall@.service", "outfall.supervisor.conf", "worker.yaml"):
            found = set(re.findall(r"[\w./]*/bin/outfall\b", (BUILD / name).read_text()))
            self.assertEqual((name, found), (name, {binary}))


if __name__ == "__main__":
    unittest.main()
