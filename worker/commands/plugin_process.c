/* Two commands that no one types: the worker starts itself with them, to run a plugin apart from it
 * (executors/plugin/plugin_isolated.h). So there is no help, and a wrong word is nobody's mistake but ours. */
#include "commands/commands.h"

#include "base/log.h"
#include "executors/plugin/plugin_isolated.h"
#include "executors/plugin/plugin_process.h"
#include "settings/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

static bool read_number(const char *word, uint64_t most, uint64_t *ret_number)
{
	char *end;
	errno = 0;
	*ret_number = strtoull(word, &end, 10);
	return errno == 0 && *word != '\0' && *end == '\0' && *ret_number <= most;
}

static bool read_words(char **words, struct handler_settings *handler,
		       struct worker_settings *worker, enum log_level *ret_level)
{
	uint64_t threads, checkpoint, level;
	if (!read_number(words[PLUGIN_PROCESS_THREADS], 1024, &threads) || threads == 0 ||
	    !read_number(words[PLUGIN_PROCESS_TIMEOUT_MS], UINT64_MAX, &handler->timeout_ms) ||
	    !read_number(words[PLUGIN_PROCESS_MAX_CHECKPOINT], SIZE_MAX, &checkpoint) ||
	    !read_number(words[PLUGIN_PROCESS_LOG_LEVEL], LOG_DEBUG, &level))
		return false;
	handler->type = HANDLER_PLUGIN;
	handler->name = words[PLUGIN_PROCESS_NAME];
	handler->path = words[PLUGIN_PROCESS_PATH];
	handler->threads = (unsigned)threads;
	worker->max_checkpoint_bytes = checkpoint;
	*ret_level = (enum log_level)level;
	return true;
}

int command_plugin_process(int argc, char **argv)
{
	struct handler_settings handler = {0};
	struct worker_settings worker = {0};
	enum log_level level;
	if (argc != PLUGIN_PROCESS_WORDS + 1 || !read_words(argv + 1, &handler, &worker, &level))
		return command_usage(argv[0], "is for the worker's own use");
	struct log *log = log_create(STDERR_FILENO, level, LOG_TEXT);
	if (log == NULL)
		return EX_OSERR;
	int code = plugin_process_serve(&handler, &worker, log);
	log_destroy(log);
	return code;
}

int command_plugin_try(int argc, char **argv)
{
	if (argc != 2)
		return command_usage(argv[0], "is for the worker's own use");
	return plugin_process_try(argv[1]);
}
