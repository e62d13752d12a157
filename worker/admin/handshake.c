#include "admin/handshake.h"

#include "base/base64.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { KEY_LETTERS = 24, KEY_BYTES = 16 };

static bool is_key(const char *key)
{
	struct text bytes = {0};
	bool good = strlen(key) == KEY_LETTERS && base64_read(&bytes, span_text(key)) &&
		    bytes.len == KEY_BYTES;
	text_fini(&bytes);
	return good;
}

bool handshake_accept(const char *key, char ret_accept[HANDSHAKE_ACCEPT_BYTES])
{
	static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char said[KEY_LETTERS + sizeof magic];
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned digest_len = 0;
	struct text letters = {0};
	if (!is_key(key))
		return false;
	int len = snprintf(said, sizeof said, "%s%s", key, magic);
	if (EVP_Digest(said, (size_t)len, digest, &digest_len, EVP_sha1(), NULL) != 1)
		return false;
	base64_put(&letters, span_of(digest, digest_len));
	bool good = !letters.failed && letters.len == HANDSHAKE_ACCEPT_BYTES - 1;
	if (good)
		(void)snprintf(ret_accept, HANDSHAKE_ACCEPT_BYTES, "%.*s", (int)letters.len,
			       letters.bytes);
	text_fini(&letters);
	return good;
}
