#include "plugin/outfall.h"

const struct outfall_plugin outfall_plugin = {.abi = OUTFALL_ABI};
