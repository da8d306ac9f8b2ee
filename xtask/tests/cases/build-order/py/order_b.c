#include "module.h"

static PyMethodDef methods[] = {{"answer", get_answer, METH_NOARGS, ""}, {0}};

MODULE(order_b, methods)
