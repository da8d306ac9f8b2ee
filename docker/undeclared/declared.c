/* An extension module that declares that it runs without the GIL. It shares a
   distribution with one that does not: the gate must tell them apart. */
#include <Python.h>

#ifndef NAME
#define NAME "declared"
#define INIT PyInit_declared
#endif

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = NAME,
    .m_slots = slots,
};

PyMODINIT_FUNC
INIT(void)
{
    return PyModuleDef_Init(&module);
}
