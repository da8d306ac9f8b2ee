#define NAME "undeclared_not"
#define INIT PyInit_undeclared_not
#include "declared.c"
