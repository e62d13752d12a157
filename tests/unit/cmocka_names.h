/* cmocka_names - what cmocka 1.1 and cmocka 2 do not have in common. Goes after <cmocka.h>. */
#ifndef OUTFALL_TESTS_CMOCKA_NAMES_H
#define OUTFALL_TESTS_CMOCKA_NAMES_H

#undef stop /* a macro from 2 on; an executor has a stop() of its own */

#ifndef assert_int_in_range /* from 2 on, which warns of the older name */
#define assert_int_in_range assert_in_range
#endif

#endif
