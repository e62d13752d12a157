/* A configuration passes through six hands, each of which knows one thing:
 *
 *     files    what can be read only once
 *     reader   includes, strings, variables    -> tokens
 *     parse    the grammar                     -> blocks: what each section says, and where
 *     value    units, ranges, words            -> each block's fields
 *     load     which name means which section  -> struct settings
 *     check    what must fit together          -> more problems
 *
 * A broken text ends it after the fourth, because half a configuration breaks rules that the whole
 * one keeps. Everything else goes on to the end, and all problems are reported at once. */
#include "settings/load.h"
#include "base/duration.h"
#include "base/memory.h"
#include "base/must.h"
#include "settings/added_queue.h"
#include "settings/check.h"
#include "settings/document.h"
#include "settings/problems.h"
#include "settings/secrets.h"
#include "settings/source_schema.h"
#include "settings/value.h"
#include "settings/withheld.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- blocks to structs --- */

void load_fields(struct loading *l, struct block *block)
{
	const struct section_row *row = block->section;
	char *fields = region_take(l->region, row->bytes);
	block->fields = fields;
	if (row->name_offset != TABLE_NO_FIELD)
		*(const char **)(void *)(fields + row->name_offset) = block->title;
	if (row->place_offset != TABLE_NO_FIELD)
		*(struct place *)(void *)(fields + row->place_offset) = block->place;
	value_fill_block(block, l->problems);
}

/* A section that nobody wrote has its defaults all the same. */
static struct block *imply_block(struct loading *l, const struct section_row *section,
				 const char *title)
{
	struct block *block = block_create(l->region, section, title, l->document.whole);
	load_fields(l, block);
	return block;
}

static struct block *the_block(struct loading *l, const struct section_row *section)
{
	struct block *block = document_find(&l->document, section, NULL, NULL);
	return block != NULL ? block : imply_block(l, section, NULL);
}

/* Its fields live in the array from now on. */
static void move_fields(struct block *block, void *array, size_t at)
{
	size_t bytes = block->section->bytes;
	block->fields = memcpy((char *)array + at * bytes, block->fields, bytes);
}

static size_t count_blocks(const struct document *document, const struct section_row *section)
{
	size_t n = 0;
	for (const struct block *b = document->first; b != NULL; b = b->next)
		n += b->section == section;
	return n;
}

/* The blocks of one section as one array. */
static void *collect(struct loading *l, const struct section_row *section, size_t *ret_n)
{
	void *array = region_take(l->region, count_blocks(&l->document, section) * section->bytes);
	*ret_n = 0;
	for (struct block *b = l->document.first; b != NULL; b = b->next)
		if (b->section == section)
			move_fields(b, array, (*ret_n)++);
	return array;
}

/* --- sources and their queues --- */

static void add_source(struct loading *l, const struct block *block)
{
	struct source_settings *source = block->fields;
	source->broker.schema = block->section->schema;
	source->queues = region_take(l->region, block->n_children * sizeof *source->queues);
	l->settings->sources[l->settings->n_sources++] = source;
}

void load_sources(struct loading *l)
{
	size_t n = 0;
	for (source_schemas kind = l->kinds; *kind != NULL; kind++)
		n += count_blocks(&l->document, &(*kind)->section);
	l->settings->sources = region_take(l->region, n * sizeof *l->settings->sources);
	for (source_schemas kind = l->kinds; *kind != NULL; kind++)
		for (const struct block *b = l->document.first; b != NULL; b = b->next)
			if (b->section == &(*kind)->section)
				add_source(l, b);
}

void load_place_queue(struct block *queue)
{
	struct source_settings *source = queue->parent->fields;
	source->queues[source->n_queues++] = queue->fields;
}

/* --- what is more than a field --- */

static void resolve_worker(struct loading *l)
{
	struct worker_settings *worker = &l->settings->worker;
	*worker = *(struct worker_settings *)the_block(l, &section_worker)->fields;
	if (worker->name != NULL)
		return;
	char host[256] = "";
	(void)gethostname(host, sizeof host - 1); /* without a name the process id still tells */
	worker->name = region_print(l->region, "%s:%d", host, (int)getpid());
}

enum { DRAIN_AUTO_MS = 30 * 1000 };

static void report_timeout(struct loading *l, const struct said *said)
{
	char text[SAID_SHOWN_BYTES];
	problems_error(l->problems, said->place,
		       "timeout cannot be %s: a time like 30s or 10m is needed, or \"auto\" or "
		       "\"none\"",
		       said_word(said, text));
}

static void resolve_timeout(struct loading *l, const struct said *said)
{
	struct drain_settings *drain = &l->settings->drain;
	drain->limit = DRAIN_LIMIT_AUTO;
	drain->timeout_ms = DRAIN_AUTO_MS;
	if (said->n != 1 || said->unset || strcmp(said->texts[0], "auto") == 0)
		return;
	if (strcmp(said->texts[0], "none") == 0)
		drain->limit = DRAIN_LIMIT_NONE;
	else if (duration_parse(said->texts[0], &drain->timeout_ms))
		drain->limit = DRAIN_LIMIT_SET;
	else
		report_timeout(l, said);
}

static void resolve_drain(struct loading *l)
{
	struct block *block = the_block(l, &section_drain);
	l->settings->drain = *(struct drain_settings *)block->fields;
	resolve_timeout(l, block_said(block, "timeout"));
}

static bool parse_mode(const char *text, unsigned *ret_mode)
{
	char *end;
	unsigned long mode = strtoul(text, &end, 8);
	if (*end != '\0' || end == text || *text < '0' || *text > '7' || mode > 0777)
		return false;
	*ret_mode = (unsigned)mode;
	return true;
}

static void resolve_mode(struct loading *l, const struct said *said)
{
	unsigned *mode = &l->settings->admin.socket_mode;
	char text[SAID_SHOWN_BYTES];
	must(parse_mode(section_find_key(&section_admin, "socket_mode")->preset, mode));
	if (said->n == 1 && !said->unset && !parse_mode(said->texts[0], mode))
		problems_error(l->problems, said->place,
			       "socket_mode cannot be %s: octal digits like 0660 are needed",
			       said_word(said, text));
}

static struct secrets_context context_of(struct loading *l, const struct block *block)
{
	return (struct secrets_context){block, l->region, &l->files, l->problems};
}

void load_socket(struct admin_settings *admin, const char *said)
{
	admin->no_socket = said != NULL && strcmp(said, ADMIN_NO_SOCKET) == 0;
	admin->socket = admin->no_socket ? NULL : said;
}

static void resolve_admin(struct loading *l)
{
	struct block *block = the_block(l, &section_admin);
	const struct said *token = block_said(block, "token_file");
	struct admin_settings *admin = &l->settings->admin;
	*admin = *(struct admin_settings *)block->fields;
	load_socket(admin, admin->socket);
	resolve_mode(l, block_said(block, "socket_mode"));
	if (token->n == 1 && !token->unset && token->texts[0][0] != '\0') {
		struct secrets_context context = context_of(l, block);
		admin->token = secrets_line(&context, "token_file");
	}
}

static void resolve_retries(struct loading *l)
{
	if (document_find(&l->document, &section_retry, NULL, "default") == NULL)
		document_append(&l->document, imply_block(l, &section_retry, "default"));
	l->settings->retries = collect(l, &section_retry, &l->settings->n_retries);
}

static void report_no_such(struct loading *l, const struct block *block, const char *key)
{
	const struct said *said = block_said(block, key);
	char text[SAID_SHOWN_BYTES];
	(void)said_word(said, text);
	problems_error(
	    l->problems, said->place, "%s \"%s\": there is no %s %s: define it, or name another",
	    block->section->name, block->title, key, text[0] == '"' ? text : "of that name");
}

/* The section that `key` names; NULL when there is none, which is then reported. */
static const void *resolve_name(struct loading *l, const struct block *block, const char *key,
				const struct section_row *section, const char *preset)
{
	const struct said *said = block_said(block, key);
	if (said->unset || (said->n > 0 && said->texts[0][0] == '\0'))
		return NULL; /* reported where it stands */
	const char *name = said->n > 0 ? said->texts[0] : preset;
	if (name == NULL) {
		problems_error(l->problems, block->place, "%s \"%s\" has no %s: %s = \"name\"",
			       block->section->name, block->title, key, key);
		return NULL;
	}
	struct block *found = document_find(&l->document, section, NULL, name);
	if (found == NULL) {
		report_no_such(l, block, key);
		return NULL;
	}
	found->is_named = true;
	return found->fields;
}

static void resolve_queue(struct loading *l, struct block *block)
{
	struct source_queue_settings *queue = block->fields;
	load_place_queue(block);
	queue->handler = resolve_name(l, block, "handler", &section_handler, NULL);
	queue->retry = resolve_name(l, block, "retry", &section_retry, "default");
	if (block->section->schema->complete != NULL)
		block->section->schema->complete(queue, l->region);
}

static void resolve_handler(struct loading *l, struct block *block)
{
	struct handler_settings *handler = block->fields;
	handler->withheld = l->settings->withheld;
	if (handler->ca_file != NULL)
		handler->ca_file = files_beside(l->region, block_said(block, "ca_file")->place.file,
						handler->ca_file);
}

/* Files that are named inside a section are relative to the file that names them. */
static void resolve_tls(struct loading *l, const struct block *block, struct tls_settings *tls)
{
	const struct {
		const char *key;
		const char **path;
	} rows[] = {
	    {"ca_file",   &tls->ca_file  },
	    {"cert_file", &tls->cert_file},
	    {"key_file",  &tls->key_file }
        };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (*rows[i].path != NULL)
			*rows[i].path = files_beside(
			    l->region, block_said(block, rows[i].key)->place.file, *rows[i].path);
}

void load_broker(struct loading *l, const struct block *source)
{
	struct secrets_context context = context_of(l, source);
	struct broker_settings *broker = &((struct source_settings *)source->fields)->broker;
	resolve_tls(l, source, &broker->tls);
	(void)secrets_urls(&context, broker); /* reported */
}

static void resolve_block(struct loading *l, struct block *block)
{
	if (section_is_source(block->section))
		load_broker(l, block);
	else if (section_is_queue(block->section)) /* after its source, which has room for it */
		resolve_queue(l, block);
	else if (block->section == &section_handler)
		resolve_handler(l, block);
}

/* --- the whole --- */

static void resolve(struct loading *l)
{
	struct settings *settings = l->settings;
	settings->withheld = withheld_find(&l->document, l->region);
	resolve_worker(l);
	resolve_drain(l);
	resolve_admin(l);
	settings->log = *(struct log_settings *)the_block(l, &section_log)->fields;
	settings->handlers = collect(l, &section_handler, &settings->n_handlers);
	resolve_retries(l);
	load_sources(l);
	for (struct block *block = l->document.first; block != NULL; block = block->next)
		resolve_block(l, block);
}

enum parse_result load_parse(struct loading *l, const char *path, struct problems *syntax,
			     struct problems *values)
{
	struct region scratch = {0};
	const struct reader_parts parts = {.region = l->region,
					   .scratch = &scratch,
					   .files = &l->files,
					   .syntax = syntax,
					   .values = values};
	enum parse_result result = parse_file(l->kinds, path, &parts, &l->document);
	region_free(&scratch);
	return result;
}

static void load(struct loading *l, const char *path)
{
	enum parse_result result = load_parse(l, path, l->problems, l->problems);
	for (struct block *block = l->document.first; block != NULL; block = block->next)
		load_fields(l, block);
	if (result == PARSE_BROKEN)
		return;
	resolve(l);
	const struct rules rules = {.document = &l->document,
				    .settings = l->settings,
				    .problems = l->problems,
				    .again = l->files.again};
	check_document(&rules);
}

/* --- from beginning to end --- */

struct settings_kept {
	struct region region;
	struct kept_file *files;
};

struct settings_kept *settings_keep(const struct settings *settings)
{
	struct settings_kept *kept = memory_clear(1, sizeof *kept);
	if (kept != NULL)
		kept->files = files_kept_copy(loaded_of(settings)->kept, &kept->region);
	return kept;
}

void settings_kept_destroy(struct settings_kept *kept)
{
	if (kept == NULL)
		return;
	region_free(&kept->region);
	memory_free(kept);
}

struct loaded *load_begin(struct loading *ret_loading, source_schemas kinds,
			  const struct settings_kept *before, struct problems *problems)
{
	struct loaded *loaded = memory_clear(1, sizeof *loaded);
	*problems = (struct problems){0};
	if (loaded == NULL)
		return NULL;
	list_init(&loaded->added);
	*ret_loading = (struct loading){.loaded = loaded,
					.settings = &loaded->settings,
					.region = &loaded->region,
					.problems = problems,
					.kinds = kinds};
	ret_loading->files = (struct files){.region = &loaded->region,
					    .before = before != NULL ? before->files : NULL,
					    .again = before != NULL};
	return loaded;
}

enum status load_end(struct loading *l, const char *path, struct settings **ret_settings)
{
	problems_sort(l->problems, path);
	if (l->problems->errors != 0) {
		settings_destroy(l->settings);
		return ST_INVALID;
	}
	l->loaded->document = l->document;
	l->loaded->kept = l->files.kept;
	*ret_settings = l->settings;
	return ST_OK;
}

enum status settings_load(source_schemas kinds, const char *path, struct settings **ret_settings,
			  struct problems *problems)
{
	return settings_load_again(kinds, path, NULL, ret_settings, problems);
}

enum status settings_load_again(source_schemas kinds, const char *path,
				const struct settings_kept *before, struct settings **ret_settings,
				struct problems *problems)
{
	struct loading l;
	if (load_begin(&l, kinds, before, problems) == NULL)
		return ST_NOMEM;
	load(&l, path);
	return load_end(&l, path, ret_settings);
}

void settings_destroy(struct settings *settings)
{
	if (settings == NULL)
		return;
	struct loaded *loaded = (struct loaded *)(void *)settings;
	added_queue_destroy_all(settings);
	region_free(&loaded->region);
	memory_free(loaded);
}
