/* _cockpit: what the agent takes from ctypes, the `openssl` command or `cryptography` elsewhere.
 *
 *   prctl(option, value)              raises OSError
 *   fallocate(fd, mode, offset, len)  raises OSError
 *   make_key(name)                    (private key, certificate request), PEM, EC P-256; raises OSError
 *
 * Built into the interpreter of the one-file agent, which is static and can load nothing.
 */
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>

#include <fcntl.h>
#include <sys/prctl.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static PyObject *mod_prctl(PyObject *self, PyObject *args)
{
    int option;
    unsigned long value;
    if (!PyArg_ParseTuple(args, "ik", &option, &value))
        return NULL;
    if (prctl(option, value, 0UL, 0UL, 0UL) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyObject *mod_fallocate(PyObject *self, PyObject *args)
{
    int fd, mode, failed;
    long long offset, length;
    if (!PyArg_ParseTuple(args, "iiLL", &fd, &mode, &offset, &length))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    failed = fallocate(fd, mode, (off_t)offset, (off_t)length);
    Py_END_ALLOW_THREADS
    if (failed)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

/* New reference to the text that was written into a memory BIO. */
static PyObject *written(BIO *bio)
{
    char *text = NULL;
    long length = BIO_get_mem_data(bio, &text);
    return PyUnicode_DecodeASCII(text, length, "strict");
}

static PyObject *mod_make_key(PyObject *self, PyObject *args)
{
    const char *name;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(args, "s#", &name, &length))
        return NULL;
    if (length < 1 || length > 64) {
        PyErr_SetString(PyExc_ValueError, "a name has 1 to 64 bytes");
        return NULL;
    }
    PyObject *result = NULL, *first = NULL, *second = NULL;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *request = X509_REQ_new();
    BIO *key_bio = BIO_new(BIO_s_secmem()), *request_bio = BIO_new(BIO_s_mem());
    if (key && request && key_bio && request_bio
        && X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request), "CN", MBSTRING_UTF8,
                                      (const unsigned char *)name, (int)length, -1, 0)
        && X509_REQ_set_pubkey(request, key) && X509_REQ_sign(request, key, EVP_sha256()) > 0
        && PEM_write_bio_PKCS8PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL)
        && PEM_write_bio_X509_REQ(request_bio, request)) {
        first = written(key_bio);
        second = first ? written(request_bio) : NULL;
        if (second)
            result = PyTuple_Pack(2, first, second);
    } else {
        const char *why = ERR_reason_error_string(ERR_peek_last_error());
        PyErr_Format(PyExc_OSError, "no key could be made: %s", why ? why : "OpenSSL does not say why");
    }
    Py_XDECREF(first);
    Py_XDECREF(second);
    BIO_free(key_bio);
    BIO_free(request_bio);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return result;
}

static PyMethodDef methods[] = {
    {"prctl", mod_prctl, METH_VARARGS, "prctl(option, value)"},
    {"fallocate", mod_fallocate, METH_VARARGS, "fallocate(fd, mode, offset, length)"},
    {"make_key", mod_make_key, METH_VARARGS, "make_key(name) -> (private key, certificate request), PEM"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_cockpit", "What the agent needs of the kernel and of OpenSSL.", 0, methods,
};

PyMODINIT_FUNC PyInit__cockpit(void)
{
    return PyModule_Create(&definition);
}
