#define NAME "undeclared_not_2"
#define INIT PyInit_undeclared_not_2
#include "declared.c"
