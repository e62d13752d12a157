/* What comes in on the admin socket, heard by the whole admin server with a worker behind it: a request, or, where
 * the first byte is odd, frames of a WebSocket behind a good upgrade. The client sends all of it, says that
 * there is no more, and reads what it gets until the end comes. It does not wait long for that: the
 * library overlooks an end that comes together with half a request, and the server's own clocks
 * count seconds. */
#include "fuzz.h"

#include "../unit/small_core.h"
#include "admin/admin.h"
#include "base/must.h"
#include "loop/loop.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATIENCE_MS = 20, INPUT_MOST = 32768 };

static const char upgrade[] = "GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
			      "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
			      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

struct scene {
	struct small_core s;
	struct loop *loop;
	struct admin *admin;
	struct turn_hook drain;
	struct watch *watch;
	struct timer *patience;
	int client;
	uint64_t reloads;
};

/* Every third one is over at once, and of the others some never are. */
static uint64_t ask_for_reload(void *arg, struct error *why)
{
	struct scene *scene = arg;
	if (++scene->reloads % 5 == 0)
		(void)error_set(why, ST_REFUSED, "draining");
	return scene->reloads % 5 == 0 ? 0 : scene->reloads;
}

static bool answer_reload(void *arg, uint64_t number, struct text *says, enum status *ret_status,
			  struct error *why)
{
	(void)arg;
	(void)says;
	*ret_status = error_set(why, ST_INVALID, "nothing is changed");
	return number % 3 == 0;
}

static void turned(void *arg)
{
	struct scene *scene = arg;
	core_drain_turn(&scene->s.core);
	if (core_is_closed(&scene->s.core))
		loop_stop(scene->loop);
}

static void heard(void *arg, unsigned events)
{
	struct scene *scene = arg;
	char buf[65536];
	ssize_t n;
	(void)events;
	while ((n = recv(scene->client, buf, sizeof buf, MSG_DONTWAIT)) > 0)
		;
	if (n < 0 && errno == EAGAIN)
		return;
	loop_stop(scene->loop);
}

static void lost_patience(void *arg)
{
	loop_stop(arg);
}

static int connect_to(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
	must(fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof un) == 0);
	return fd;
}

/* A socket's buffer takes it whole. */
static void say(int fd, const void *bytes, size_t size)
{
	must(send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
}

static void open_scene(struct scene *scene, const char *path)
{
	struct error why;
	struct admin_settings settings = {.socket = path, .socket_mode = 0600};
	memset(scene, 0, sizeof *scene);
	small_core_init(&scene->s, 0, "emails");
	must(loop_create(&scene->loop, &why) == ST_OK);
	scene->drain = (struct turn_hook){.run = turned, .arg = scene};
	loop_add_hook(scene->loop, TURN_DRAIN, &scene->drain);
	struct admin_worker worker = {
	    .core = &scene->s.core,
	    .loop = scene->loop,
	    .name = "w",
	    .reloading = {ask_for_reload, answer_reload, scene}
        };
	must(admin_create(&settings, &worker, &scene->admin, &why) == ST_OK);
	scene->client = connect_to(path);
	scene->watch = watch_create(scene->loop, scene->client, heard, scene);
	scene->patience = timer_create_on(scene->loop, lost_patience, scene->loop);
	must(scene->watch != NULL && scene->patience != NULL);
	watch_set(scene->watch, WATCH_READ);
	timer_start(scene->patience, PATIENCE_MS);
}

static void close_scene(struct scene *scene)
{
	if (core_is_closed(&scene->s.core))
		admin_part(scene->admin, UINT64_MAX);
	admin_destroy(scene->admin);
	watch_destroy(scene->watch);
	timer_destroy(scene->patience);
	loop_remove_hook(&scene->drain);
	(void)close(scene->client);
	loop_destroy(scene->loop);
	small_core_fini(&scene->s);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char path[64];
	struct scene scene;
	if (size == 0 || size > INPUT_MOST)
		return 0;
	(void)snprintf(path, sizeof path, "/tmp/outfall-fuzz.%d.sock", (int)getpid());
	open_scene(&scene, path);
	if (bytes[0] % 2 == 1)
		say(scene.client, upgrade, sizeof upgrade - 1);
	say(scene.client, bytes + 1, size - 1);
	must(shutdown(scene.client, SHUT_WR) == 0);
	loop_run(scene.loop);
	close_scene(&scene);
	return 0;
}
