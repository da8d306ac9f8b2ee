#include "module.h"

extern const char *one(void), *two(void);

static PyObject *files(PyObject *self, PyObject *unused) { return Py_BuildValue("ss", one(), two()); }

static PyMethodDef methods[] = {
    {"answer", get_answer, METH_NOARGS, ""}, {"files", files, METH_NOARGS, "the options of each file"}, {0}};

MODULE(order_files, methods)
