/* authority - certificates made for one run of a test: nothing that could be mistaken for a secret
 * lies in the repository, and nothing in it ever expires.
 *
 * Thread: the test's.
 * Owns:   what it returns belongs to the caller (certificate_free).
 * Fails:  by failing the test. */
#ifndef OUTFALL_TESTS_AUTHORITY_H
#define OUTFALL_TESTS_AUTHORITY_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

struct certificate {
	X509 *cert;
	EVP_PKEY *key;
};

enum { HOUR_S = 60 * 60 };

struct wanted {
	const char *name;  /* common name */
	const char *names; /* "DNS:a.example,IP:127.0.0.1"; NULL: no such extension */
	const struct certificate *signer; /* NULL: itself */
	long from_s, until_s;             /* from now; both 0: from an hour ago until in a month */
};

static inline void add_extension(X509 *cert, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(cert, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static inline struct certificate certificate_make(struct wanted wanted)
{
	static long serial = 1;
	struct certificate made = {X509_new(), EVP_EC_gen("P-256")};
	assert_non_null(made.cert);
	assert_non_null(made.key);
	if (wanted.from_s == 0 && wanted.until_s == 0) {
		wanted.from_s = -HOUR_S;
		wanted.until_s = 30L * 24 * HOUR_S;
	}
	X509_NAME *subject = X509_get_subject_name(made.cert);
	assert_int_equal(X509_set_version(made.cert, X509_VERSION_3), 1);
	assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(made.cert), serial++), 1);
	assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
						    (const unsigned char *)wanted.name, -1, -1, 0),
			 1);
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(made.cert), wanted.from_s));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(made.cert), wanted.until_s));
	assert_int_equal(X509_set_pubkey(made.cert, made.key), 1);
	const struct certificate *signer = wanted.signer != NULL ? wanted.signer : &made;
	assert_int_equal(X509_set_issuer_name(made.cert, X509_get_subject_name(signer->cert)), 1);
	if (wanted.names != NULL)
		add_extension(made.cert, NID_subject_alt_name, wanted.names);
	if (wanted.signer == NULL)
		add_extension(made.cert, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(made.cert, signer->key, EVP_sha256()) > 0);
	return made;
}

static inline void certificate_free(struct certificate *certificate)
{
	X509_free(certificate->cert);
	EVP_PKEY_free(certificate->key);
	*certificate = (struct certificate){0};
}

/* Either may be NULL. */
static inline void certificate_write(const char *path, X509 *cert, EVP_PKEY *key)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	if (cert != NULL)
		assert_int_equal(PEM_write_X509(file, cert), 1);
	if (key != NULL)
		assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	assert_int_equal(fclose(file), 0);
}

#endif
