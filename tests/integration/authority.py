"""Certificates made for one run of a test, with the openssl command: none lies in the repository, and
none of them ever expires in anybody's hands."""

import datetime
import itertools
import subprocess

_serial = itertools.count(1000)


def _openssl(*args, stdin=None):
    done = subprocess.run(
        ["openssl", *map(str, args)], input=stdin, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"openssl {args[0]}: {done.stdout}")


def _date(days):
    when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    return when.strftime("%Y%m%d%H%M%SZ")


class Authority:
    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        directory.mkdir(parents=True, exist_ok=True)
        self.pem = directory / "ca.pem"
        self.key = directory / "ca.key"
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/CN={name}", "-days", 30, "-keyout", self.key, "-out", self.pem,
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip

    def issue(self, pem, key, name, names=None, start=-1, end=30):
        """A certificate into the file `pem`, its key into `key`; start and end in days from now."""
        folder = self.directory / f"issue{next(_serial)}"
        folder.mkdir()
        extensions = "basicConstraints=CA:FALSE\n"
        if names:
            extensions += f"subjectAltName={names}\n"
        (folder / "index").touch()
        (folder / "ca.conf").write_text(
            "[ca]\ndefault_ca = d\n[d]\n"
            f"database = {folder}/index\nnew_certs_dir = {folder}\ndefault_md = sha256\n"
            "policy = p\nrand_serial = yes\nx509_extensions = e\nunique_subject = no\n"
            f"[p]\ncommonName = supplied\n[e]\n{extensions}"
        )
        _openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/CN={name}", "-keyout", folder / "key", "-out", folder / "request",
        )  # fmt: skip
        _openssl(
            "ca", "-batch", "-notext", "-config", folder / "ca.conf", "-cert", self.pem,
            "-keyfile", self.key, "-in", folder / "request", "-out", folder / "cert",
            "-startdate", _date(start), "-enddate", _date(end),
        )  # fmt: skip
        # Each in one step: what reads them never sees half of a file.
        (folder / "key").replace(key)
        (folder / "cert").replace(pem)
