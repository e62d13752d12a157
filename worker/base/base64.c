#include "base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct text *text, struct span bytes)
{
	const unsigned char *in = (const unsigned char *)bytes.ptr;
	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
		uint32_t bits = (uint32_t)in[i] << 16;
		bits |= n > 1 ? (uint32_t)in[i + 1] << 8 : 0;
		bits |= n > 2 ? (uint32_t)in[i + 2] : 0;
		char out[4] = {digits[bits >> 18], digits[bits >> 12 & 63],
			       n > 1 ? digits[bits >> 6 & 63] : '=',
			       n > 2 ? digits[bits & 63] : '='};
		text_put(text, span_of(out, sizeof out));
	}
}

static int sextet_of(char c)
{
	const char *found = c != '\0' ? strchr(digits, c) : NULL;
	return found != NULL ? (int)(found - digits) : -1;
}

static size_t without_padding(struct span encoded)
{
	size_t len = encoded.len;
	while (len > 0 && encoded.len - len < 2 && encoded.ptr[len - 1] == '=')
		len--;
	return len;
}

bool base64_read(struct text *bytes, struct span encoded)
{
	size_t len = without_padding(encoded);
	uint32_t bits = 0;
	if (encoded.len % 4 != 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		int sextet = sextet_of(encoded.ptr[i]);
		if (sextet < 0)
			return false;
		bits = bits << 6 | (uint32_t)sextet;
		char byte = (char)(bits >> (6 - i % 4 * 2));
		if (i % 4 != 0)
			text_put(bytes, span_of(&byte, 1));
	}
	return true;
}
