/* An extension module that does not say whether it runs without the GIL: no
   Py_mod_gil slot. Importing it switches the GIL on, and the gate's test needs
   one that always does. The slot's absence is the whole point: do not add it. */
#include <Python.h>

static PyModuleDef_Slot slots[] = {
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "undeclared",
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_undeclared(void)
{
    return PyModuleDef_Init(&module);
}
