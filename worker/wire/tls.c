/* The idea: OpenSSL never sees the socket. Its BIO, ours, reads from one buffer and appends to
 * another, so SSL_write() takes everything at once, never asks to be called again with the same
 * bytes, and cannot raise SIGPIPE; and what a turn has sealed leaves in one send(2), like plain
 * output does. Only "more must come first" is left of OpenSSL's states.
 *
 * The awkward part is to say what is wrong. OpenSSL's own words are "certificate verify failed", and
 * after a handshake that failed the peer's certificate is gone. So the sentence is made in the
 * verify callback, while the certificate is at hand: whose it is, when it expired, who signed it.
 *
 * Two things that OpenSSL would do on its own: ask on the terminal for a key's passphrase, and
 * renegotiate when a TLS 1.2 server wants to. Neither is wanted in the middle of a worker's turn. */
#include "wire/tls.h"

#include "base/memory.h"
#include "base/must.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	INPUT_FIRST = 4 << 10,
	INPUT_MOST = 64 << 10, /* four records at a time */
	OUTPUT_FIRST = 4 << 10,
	OUTPUT_KEEP = 64 << 10, /* a larger buffer is given back once it is empty */
	TLS_FILES = TLS_KEY_FILE + 1,
};

/* Tells whether a file is still the one that was read, also when a link was turned to another. */
struct signature {
	dev_t dev;
	ino_t ino;
	off_t bytes;
	struct timespec changed;
};

struct tls {
	const struct tls_settings *settings;
	BIO_METHOD *method;
	SSL_CTX *context; /* NULL: nothing good has been read yet */
	struct signature read[TLS_FILES];
};

struct tls_session {
	SSL *ssl;
	const struct tls_settings *settings;
	struct error untrusted; /* ST_OK: nothing was found wrong with the peer's certificate */
	bool failed, farewell;
	char *in;
	size_t in_cap, in_from, in_to;
	char *out;
	size_t out_cap, out_from, out_to;
	char name[256]; /* whom we want to speak to */
};

/* --- files ---------------------------------------------------------------------------------- */

static const char *path_of(const struct tls_settings *s, enum tls_file which)
{
	switch (which) {
	case TLS_CA_FILE:
		return s->ca_file;
	case TLS_CERT_FILE:
		return s->cert_file;
	case TLS_KEY_FILE:
		return s->key_file != NULL ? s->key_file : s->cert_file;
	}
	return NULL;
}

static const char *key_of(enum tls_file which)
{
	static const char *const keys[TLS_FILES] = {"ca_file", "cert_file", "key_file"};
	return keys[which];
}

static struct signature signature_of(const struct stat *st)
{
	return (struct signature){st->st_dev, st->st_ino, st->st_size, st->st_mtim};
}

/* The system's certificates: where there is one file of them, it may be renewed as well; a folder is
 * looked into each time anyway. */
static struct signature sign_system(void)
{
	struct stat st;
	const char *path = getenv(X509_get_default_cert_file_env());
	if (stat(path != NULL ? path : X509_get_default_cert_file(), &st) != 0)
		return (struct signature){0};
	return signature_of(&st);
}

/* Opened and not only looked at: the permission to read is what tells. */
static enum status sign(const char *path, enum tls_file which, struct signature *ret_signature,
			struct error *why)
{
	struct stat st;
	if (path == NULL) {
		*ret_signature = which == TLS_CA_FILE ? sign_system() : (struct signature){0};
		return ST_OK;
	}
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0) {
		int errnum = errno;
		if (fd >= 0)
			(void)close(fd);
		return error_system(why, errnum, "%s %s", key_of(which), path);
	}
	(void)close(fd); /* nothing was done with it */
	if (!S_ISREG(st.st_mode))
		return error_set(why, ST_INVALID, "%s %s: not a regular file", key_of(which), path);
	*ret_signature = signature_of(&st);
	return ST_OK;
}

static bool same(const struct signature *a, const struct signature *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->bytes == b->bytes &&
	       a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static const char *first_reason(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());
	return reason != NULL ? reason : "unknown trouble";
}

static enum status bad_file(const struct tls *tls, enum tls_file which, struct error *why,
			    const char *what)
{
	return error_set(why, ST_INVALID, "%s %s: %s", key_of(which), path_of(tls->settings, which),
			 what);
}

static enum status read_ca(const struct tls *tls, SSL_CTX *context, struct error *why)
{
	const char *path = tls->settings->ca_file;
	if (path == NULL)
		return SSL_CTX_set_default_verify_paths(context) == 1
			   ? ST_OK
			   : error_set(why, ST_SYSTEM, "the system's certificates: %s",
				       first_reason());
	if (SSL_CTX_load_verify_file(context, path) == 1)
		return ST_OK;
	int reason = ERR_GET_REASON(ERR_peek_error());
	return bad_file(tls, TLS_CA_FILE, why,
			reason == PEM_R_NO_START_LINE || reason == X509_R_NO_CERTIFICATE_FOUND ||
				reason == X509_R_NO_CERTIFICATE_OR_CRL_FOUND
			    ? "holds no certificate (PEM is expected)"
			    : first_reason());
}

static enum status read_cert(const struct tls *tls, SSL_CTX *context, struct error *why)
{
	const char *path = tls->settings->cert_file;
	if (path == NULL || SSL_CTX_use_certificate_chain_file(context, path) == 1)
		return ST_OK;
	return bad_file(tls, TLS_CERT_FILE, why,
			ERR_GET_REASON(ERR_peek_error()) == PEM_R_NO_START_LINE
			    ? "holds no certificate (PEM is expected)"
			    : first_reason());
}

/* `arg`: a bool that remembers it, or NULL. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	if (arg != NULL)
		*(bool *)arg = true;
	return -1; /* without this OpenSSL would ask on the terminal */
}

static enum status read_key(const struct tls *tls, SSL_CTX *context, struct error *why)
{
	const char *path = path_of(tls->settings, TLS_KEY_FILE);
	bool asked = false;
	if (path == NULL)
		return ST_OK;
	SSL_CTX_set_default_passwd_cb_userdata(context, &asked);
	int taken = SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM);
	SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
	if (taken == 1)
		return ST_OK;
	int last = ERR_GET_REASON(ERR_peek_last_error());
	if (last == X509_R_KEY_VALUES_MISMATCH || last == X509_R_KEY_TYPE_MISMATCH)
		return error_set(why, ST_INVALID, "key_file %s: is not the key of cert_file %s",
				 path, tls->settings->cert_file);
	if (asked)
		return bad_file(tls, TLS_KEY_FILE, why,
				"is encrypted, which a worker that starts by itself cannot use");
	return bad_file(tls, TLS_KEY_FILE, why, "holds no private key (PEM is expected)");
}

static int verified(int good, X509_STORE_CTX *store);

static void set_rules(const struct tls *tls, SSL_CTX *context)
{
	(void)SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION); /* a constant it knows */
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS); /* most connections idle */
	(void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_default_passwd_cb(context, no_passphrase);
	SSL_CTX_set_verify(
	    context, tls->settings->verify == TLS_VERIFY_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
	    verified);
}

static enum status read_all(const struct tls *tls, SSL_CTX *context, enum tls_file *ret_which,
			    struct error *why)
{
	static enum status (*const reads[TLS_FILES])(const struct tls *, SSL_CTX *,
						     struct error *) = {
	    [TLS_CA_FILE] = read_ca,
	    [TLS_CERT_FILE] = read_cert,
	    [TLS_KEY_FILE] = read_key,
	};
	for (int which = 0; which < TLS_FILES; which++) {
		ERR_clear_error();
		*ret_which = (enum tls_file)which;
		enum status st = reads[which](tls, context, why);
		if (st != ST_OK)
			return st;
	}
	return ST_OK;
}

enum status tls_read_files(struct tls *tls, enum tls_file *ret_which, struct error *why)
{
	struct signature found[TLS_FILES];
	bool fresh = tls->context != NULL;
	enum tls_file which;
	for (int i = 0; i < TLS_FILES; i++) {
		which = (enum tls_file)i;
		enum status st = sign(path_of(tls->settings, which), which, &found[i], why);
		if (st != ST_OK) {
			if (ret_which != NULL)
				*ret_which = which;
			return st;
		}
		fresh = fresh && same(&found[i], &tls->read[i]);
	}
	if (fresh)
		return ST_OK;
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	if (context == NULL)
		return error_set(why, ST_NOMEM, "tls: out of memory");
	set_rules(tls, context);
	enum status st = read_all(tls, context, &which, why);
	ERR_clear_error();
	if (st != ST_OK) {
		if (ret_which != NULL)
			*ret_which = which;
		SSL_CTX_free(context);
		return st;
	}
	SSL_CTX_free(tls->context); /* sessions that use it hold it */
	tls->context = context;
	memcpy(tls->read, found, sizeof found);
	return ST_OK;
}

bool tls_is_usable(const struct tls *tls)
{
	return tls->context != NULL;
}

enum status tls_certificate_ends(const char *path, time_t *ret_ends, struct error *why)
{
	struct tm ends;
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return error_system(why, errno, "%s", path);
	X509 *cert = PEM_read_X509(file, NULL, no_passphrase, NULL);
	(void)fclose(file); /* only read from */
	ERR_clear_error();
	if (cert == NULL)
		return error_set(why, ST_INVALID, "%s: holds no certificate", path);
	bool good = ASN1_TIME_to_tm(X509_get0_notAfter(cert), &ends) == 1;
	X509_free(cert);
	if (!good)
		return error_set(why, ST_INVALID, "%s: its end is no date", path);
	*ret_ends = timegm(&ends);
	return ST_OK;
}

/* --- what is wrong with a certificate ------------------------------------------------------- */

/* What a certificate says about itself is a stranger's text. */
static void put_name(char *buf, size_t size, const unsigned char *name, int len)
{
	size_t used = strlen(buf);
	if (used > 0 && used + 2 < size) {
		memcpy(buf + used, ", ", 3);
		used += 2;
	}
	for (int i = 0; i < len && used + 1 < size; i++)
		buf[used++] = name[i] >= ' ' && name[i] < 0x7f ? (char)name[i] : '?';
	buf[used] = '\0';
}

static void put_general_name(char *buf, size_t size, const GENERAL_NAME *name)
{
	char address[INET6_ADDRSTRLEN];
	if (name->type == GEN_DNS) {
		put_name(buf, size, ASN1_STRING_get0_data(name->d.dNSName),
			 ASN1_STRING_length(name->d.dNSName));
		return;
	}
	if (name->type != GEN_IPADD)
		return;
	int len = ASN1_STRING_length(name->d.iPAddress);
	int family = len == 4 ? AF_INET : AF_INET6;
	if ((len == 4 || len == 16) && inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress),
						 address, sizeof address) != NULL)
		put_name(buf, size, (const unsigned char *)address, (int)strlen(address));
}

static void common_name(char *buf, size_t size, const X509_NAME *name)
{
	char text[128] = "";
	buf[0] = '\0';
	int len = X509_NAME_get_text_by_NID((X509_NAME *)(uintptr_t)name, NID_commonName, text,
					    sizeof text);
	if (len > 0)
		put_name(buf, size, (const unsigned char *)text, len);
	else
		(void)snprintf(buf, size, "nobody");
}

/* Whom it is for: the names that count, or the common name where there are none. */
static void names_of(char *buf, size_t size, X509 *cert)
{
	buf[0] = '\0';
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++)
		put_general_name(buf, size, sk_GENERAL_NAME_value(names, i));
	GENERAL_NAMES_free(names);
	if (buf[0] == '\0')
		common_name(buf, size, X509_get_subject_name(cert));
}

static void date_of(char *buf, size_t size, const ASN1_TIME *at)
{
	struct tm tm;
	if (ASN1_TIME_to_tm(at, &tm) != 1 || strftime(buf, size, "%Y-%m-%d %H:%M UTC", &tm) == 0)
		(void)snprintf(buf, size, "a date that is none");
}

static void say_untrusted(struct tls_session *session, X509 *cert, int error, int depth)
{
	char names[160], signer[100], date[40];
	const char *whose = depth == 0 ? "the certificate for" : "the certificate of its signer";
	if (depth == 0)
		names_of(names, sizeof names, cert);
	else
		common_name(names, sizeof names, X509_get_subject_name(cert));
	common_name(signer, sizeof signer, X509_get_issuer_name(cert));
	switch (error) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		date_of(date, sizeof date, X509_get0_notAfter(cert));
		(void)error_set(&session->untrusted, ST_UNTRUSTED, "%s %s expired on %s", whose,
				names, date);
		return;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		date_of(date, sizeof date, X509_get0_notBefore(cert));
		(void)error_set(&session->untrusted, ST_UNTRUSTED,
				"%s %s is not valid before %s (or this clock is wrong)", whose,
				names, date);
		return;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		(void)error_set(&session->untrusted, ST_UNTRUSTED,
				"the certificate is for %s, not for %s", names, session->name);
		return;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		(void)error_set(&session->untrusted, ST_UNTRUSTED,
				"the certificate for %s is signed by itself, and not in %s", names,
				session->settings->ca_file != NULL ? session->settings->ca_file
								   : "the system's");
		return;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		(void)error_set(&session->untrusted, ST_UNTRUSTED,
				"%s %s is signed by \"%s\", whom %s does not know", whose, names,
				signer,
				session->settings->ca_file != NULL ? session->settings->ca_file
								   : "this system");
		return;
	default:
		(void)error_set(&session->untrusted, ST_UNTRUSTED, "%s %s: %s", whose, names,
				X509_verify_cert_error_string(error));
	}
}

/* The first thing wrong is the one to tell. */
static int verified(int good, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_session *session = SSL_get_app_data(ssl);
	X509 *cert = X509_STORE_CTX_get_current_cert(store);
	if (!good && session->untrusted.status == ST_OK && cert != NULL)
		say_untrusted(session, cert, X509_STORE_CTX_get_error(store),
			      X509_STORE_CTX_get_error_depth(store));
	return good;
}

static enum status say_alert(const struct tls_session *session, int alert, struct error *why)
{
	const char *words = SSL_alert_desc_string_long(alert);
	bool has_cert = session->settings->cert_file != NULL;
	switch (alert) {
	case SSL_AD_CERTIFICATE_REQUIRED:
		return error_set(why, ST_UNTRUSTED,
				 "the peer wants a certificate from us: cert_file, key_file");
	case SSL_AD_HANDSHAKE_FAILURE:
		if (has_cert)
			break;
		return error_set(why, ST_UNTRUSTED,
				 "the peer refused the handshake: perhaps it wants "
				 "a certificate from us (cert_file, key_file)");
	case SSL_AD_PROTOCOL_VERSION:
		return error_set(why, ST_PROTO, "the peer does not speak TLS 1.2 or later");
	case SSL_AD_BAD_CERTIFICATE:
	case SSL_AD_UNSUPPORTED_CERTIFICATE:
	case SSL_AD_CERTIFICATE_REVOKED:
	case SSL_AD_CERTIFICATE_EXPIRED:
	case SSL_AD_CERTIFICATE_UNKNOWN:
	case SSL_AD_UNKNOWN_CA:
	case SSL_AD_ACCESS_DENIED:
		return error_set(why, ST_UNTRUSTED, "the peer refused our certificate%s: %s",
				 has_cert ? "" : " (there is none: cert_file)", words);
	default:
		break;
	}
	return error_set(why, ST_PROTO, "the peer ended it: %s", words);
}

/* OpenSSL's queue of errors becomes a sentence. */
static enum status say_trouble(struct tls_session *session, struct error *why)
{
	unsigned long first = ERR_peek_error();
	int reason = ERR_GET_REASON(first);
	session->failed = true;
	if (ERR_GET_LIB(first) != ERR_LIB_SSL)
		return error_set(why, ST_PROTO, "%s", first_reason());
	if (reason > SSL_AD_REASON_OFFSET)
		return say_alert(session, reason - SSL_AD_REASON_OFFSET, why);
	switch (reason) {
	case SSL_R_CERTIFICATE_VERIFY_FAILED:
		if (session->untrusted.status == ST_OK)
			break;
		*why = session->untrusted;
		return why->status;
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_PACKET_LENGTH_TOO_LONG:
		return error_set(why, ST_PROTO, "the peer does not speak TLS on this port");
	case SSL_R_UNSUPPORTED_PROTOCOL:
		return error_set(why, ST_PROTO, "the peer does not speak TLS 1.2 or later");
	default:
		break;
	}
	return error_set(why, ST_PROTO, "%s", first_reason());
}

/* --- the BIO -------------------------------------------------------------------------------- */

static int bio_read(BIO *bio, char *to, int size)
{
	struct tls_session *session = BIO_get_data(bio);
	size_t n = session->in_to - session->in_from;
	BIO_clear_retry_flags(bio);
	if (n == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	if (n > (size_t)size)
		n = (size_t)size;
	memcpy(to, session->in + session->in_from, n);
	session->in_from += n;
	return (int)n;
}

static bool make_output_room(struct tls_session *session, size_t bytes)
{
	size_t unsent = session->out_to - session->out_from;
	if (session->out_from > 0) {
		memmove(session->out, session->out + session->out_from, unsent);
		session->out_from = 0;
		session->out_to = unsent;
	}
	size_t cap = session->out_cap ? session->out_cap : OUTPUT_FIRST;
	while (cap - unsent < bytes)
		cap *= 2;
	if (cap == session->out_cap)
		return true;
	char *out = memory_grow(session->out, cap);
	if (out == NULL)
		return false;
	session->out = out;
	session->out_cap = cap;
	return true;
}

static int bio_write(BIO *bio, const char *from, int size)
{
	struct tls_session *session = BIO_get_data(bio);
	size_t bytes = (size_t)size;
	BIO_clear_retry_flags(bio);
	if (session->out_cap - session->out_to < bytes && !make_output_room(session, bytes))
		return -1; /* without the retry flag: an error */
	memcpy(session->out + session->out_to, from, bytes);
	session->out_to += bytes;
	return size;
}

static long bio_control(BIO *bio, int command, long number, void *arg)
{
	(void)bio;
	(void)number;
	(void)arg;
	return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

static int bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static BIO_METHOD *create_method(void)
{
	BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "outfall");
	if (method == NULL)
		return NULL;
	if (BIO_meth_set_read(method, bio_read) == 1 &&
	    BIO_meth_set_write(method, bio_write) == 1 &&
	    BIO_meth_set_ctrl(method, bio_control) == 1 &&
	    BIO_meth_set_create(method, bio_create) == 1)
		return method;
	BIO_meth_free(method);
	return NULL;
}

/* --- a session ------------------------------------------------------------------------------ */

static bool is_address(const char *name)
{
	unsigned char bytes[sizeof(struct in6_addr)];
	return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/* A name goes into the greeting, so that the peer can choose a certificate; an address must not. */
static bool set_name(struct tls_session *session)
{
	SSL *ssl = session->ssl;
	bool checks = session->settings->verify == TLS_VERIFY_FULL;
	if (is_address(session->name))
		return !checks ||
		       X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), session->name) == 1;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set_tlsext_host_name(ssl, session->name) == 1 &&
	       (!checks || SSL_set1_host(ssl, session->name) == 1);
}

static bool set_up(struct tls_session *session, struct tls *tls)
{
	session->ssl = SSL_new(tls->context);
	BIO *bio = BIO_new(tls->method);
	if (session->ssl == NULL || bio == NULL) {
		BIO_free(bio);
		return false;
	}
	BIO_set_data(bio, session);
	SSL_set_bio(session->ssl, bio, bio);
	SSL_set_connect_state(session->ssl);
	return SSL_set_app_data(session->ssl, session) == 1 && set_name(session);
}

enum status tls_session_create(struct tls *tls, const char *host, struct tls_session **ret_session,
			       struct error *why)
{
	const char *name = tls->settings->server_name;
	must(tls->context != NULL);
	struct tls_session *session = memory_clear(1, sizeof *session);
	if (session == NULL)
		return error_set(why, ST_NOMEM, "tls: out of memory");
	session->settings = tls->settings;
	(void)snprintf(session->name, sizeof session->name, "%s", name != NULL ? name : host);
	ERR_clear_error();
	if (!set_up(session, tls)) {
		enum status st = error_set(why, ST_NOMEM, "tls: %s", first_reason());
		tls_session_destroy(session);
		return st;
	}
	*ret_session = session;
	return ST_OK;
}

void tls_session_destroy(struct tls_session *session)
{
	if (session == NULL)
		return;
	SSL_free(session->ssl); /* and the BIO */
	memory_free(session->in);
	memory_free(session->out);
	memory_free(session);
}

struct tls *tls_create(const struct tls_settings *settings)
{
	struct tls *tls = memory_clear(1, sizeof *tls);
	if (tls == NULL)
		return NULL;
	tls->settings = settings;
	tls->method = create_method();
	if (tls->method == NULL) {
		memory_free(tls);
		return NULL;
	}
	return tls;
}

void tls_destroy(struct tls *tls)
{
	if (tls == NULL)
		return;
	SSL_CTX_free(tls->context);
	BIO_meth_free(tls->method);
	memory_free(tls);
}

/* --- bytes ---------------------------------------------------------------------------------- */

char *tls_room(struct tls_session *session, size_t *ret_room)
{
	must(session->in_from == session->in_to);
	/* A read that filled the buffer asks for a larger one. */
	bool filled = session->in_to == session->in_cap;
	session->in_from = session->in_to = 0;
	if (filled && session->in_cap < INPUT_MOST) {
		size_t cap = session->in_cap ? session->in_cap * 2 : INPUT_FIRST;
		char *in = memory_grow(session->in, cap);
		if (in == NULL && session->in_cap == 0)
			return NULL;
		if (in != NULL) {
			session->in = in;
			session->in_cap = cap;
		}
	}
	*ret_room = session->in_cap;
	return session->in;
}

void tls_came(struct tls_session *session, size_t bytes)
{
	must(bytes <= session->in_cap - session->in_to);
	session->in_to += bytes;
}

bool tls_has_input(const struct tls_session *session)
{
	return session->in_from < session->in_to || SSL_pending(session->ssl) > 0;
}

enum status tls_shake_hands(struct tls_session *session, struct error *why)
{
	ERR_clear_error();
	int done = SSL_do_handshake(session->ssl);
	if (done == 1)
		return ST_OK;
	if (SSL_get_error(session->ssl, done) == SSL_ERROR_WANT_READ)
		return ST_AGAIN;
	return say_trouble(session, why);
}

enum status tls_unseal(struct tls_session *session, char *to, size_t room, size_t *ret_bytes,
		       struct error *why)
{
	ERR_clear_error();
	int got = SSL_read_ex(session->ssl, to, room, ret_bytes);
	if (got == 1)
		return ST_OK;
	switch (SSL_get_error(session->ssl, got)) {
	case SSL_ERROR_WANT_READ:
		return ST_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return error_set(why, ST_CLOSED, "the peer closed the connection");
	default:
		return say_trouble(session, why);
	}
}

enum status tls_seal(struct tls_session *session, struct span plain, struct error *why)
{
	size_t taken = 0;
	ERR_clear_error();
	if (SSL_write_ex(session->ssl, plain.ptr, plain.len, &taken) != 1)
		return say_trouble(session, why);
	must(taken == plain.len); /* our BIO takes everything */
	return ST_OK;
}

/* OpenSSL forbids it after a failure, and in the middle of a handshake it would mean nothing. */
void tls_say_goodbye(struct tls_session *session)
{
	if (session->failed || session->farewell || !SSL_is_init_finished(session->ssl))
		return;
	session->farewell = true;
	ERR_clear_error();
	(void)SSL_shutdown(session->ssl); /* its answer is not awaited */
}

struct span tls_unsent(const struct tls_session *session)
{
	return span_of(session->out + session->out_from, session->out_to - session->out_from);
}

void tls_sent(struct tls_session *session, size_t bytes)
{
	must(bytes <= session->out_to - session->out_from);
	session->out_from += bytes;
	if (session->out_from < session->out_to)
		return;
	session->out_from = session->out_to = 0;
	if (session->out_cap > OUTPUT_KEEP) {
		memory_free(session->out);
		session->out = NULL;
		session->out_cap = 0;
	}
}

const char *tls_version(const struct tls_session *session)
{
	return SSL_get_version(session->ssl);
}
