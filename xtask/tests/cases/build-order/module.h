#include <Python.h>

extern int answer(void);

static PyObject *get_answer(PyObject *self, PyObject *unused) { return PyLong_FromLong(answer()); }

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, 0}};

#define MODULE(name, methods) \
    static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, #name, "", 0, methods, slots}; \
    PyMODINIT_FUNC PyInit_##name(void) { return PyModuleDef_Init(&module); }
