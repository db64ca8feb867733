#include "arrays.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <optional>

#include "answer.hpp"

namespace fusedstep::bindings {
namespace {

constexpr int aligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
constexpr int writeable = py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
constexpr int contiguous = py::array::c_style | py::array::f_style;

std::string text(py::handle object) { return py::str(object).cast<std::string>(); }

std::string type_name(py::handle object) {
    const py::handle type = py::type::handle_of(object);
    const std::string module = text(type.attr("__module__")), name = text(type.attr("__qualname__"));
    return module == "builtins" ? name : module + "." + name;
}

std::string tuple_text(const py::ssize_t* values, py::ssize_t count) {
    py::tuple tuple(count);
    for (py::ssize_t i = 0; i < count; ++i) tuple[i] = values[i];
    return text(tuple);
}

[[noreturn]] void refuse(const Where& where, const std::string& expected, const std::string& got) {
    throw py::value_error(where.text() + " must " + expected + ", got " + got);
}

[[noreturn]] void refuse_type(const Where& where, const std::string& expected, const std::string& got) {
    throw py::type_error(where.text() + " must " + expected + ", got " + got);
}

/// Axes of size 1 have no stride to speak of.
bool same_strides(const py::ssize_t* shape, const py::ssize_t* a, const py::ssize_t* b, py::ssize_t ndim) {
    for (py::ssize_t i = 0; i < ndim; ++i)
        if (shape[i] != 1 && a[i] != b[i]) return false;
    return true;
}

/// NumPy's own class, of which no other behaviour is to be expected.
bool is_plain(py::handle object) { return Py_TYPE(object.ptr()) == py::detail::npy_api::get().PyArray_Type_; }

/// One of NumPy's, or a float, which are no arrays
bool is_number(py::handle object) {
    return PyFloat_Check(object.ptr()) || py::isinstance(object, py::module_::import("numpy").attr("generic"));
}

/// Raw bits that as_bfloat16 has marked.
bool marked(const py::array& array) {
    return array.dtype().kind() == 'u' && array.itemsize() == 2 &&
           py::hasattr(py::type::handle_of(array), "fusedstep_bfloat16");
}

/// ml_dtypes' class of types is known by its name, as it must not be imported for that, and then stays.
bool is_bfloat16(const py::dtype& dtype) {
    static PyTypeObject* known = nullptr;
    PyTypeObject* const own = Py_TYPE(dtype.ptr());
    if (own == known) return true;
    if (dtype.itemsize() != 2 || text(dtype) != "bfloat16") return false;
    Py_INCREF(own);
    known = own;
    return true;
}

py::array check_array(py::handle object, const Where& where) {
    if (py::isinstance<py::array>(object)) {
        const auto array = py::reinterpret_borrow<py::array>(object);
        if (is_plain(object) || marked(array)) return array;
    }
    // A masked array's plain data would be updated under the mask.
    const py::object mask = attribute(object, "mask");
    if (mask && !mask.is_none()) refuse_type(where, "be a plain numpy.ndarray", type_name(object) + " (use its .data)");
    if (!py::isinstance<py::array>(object)) {
        const std::string name = type_name(object);
        if (name.starts_with("jax"))
            refuse_type(where, "be a numpy.ndarray",
                        name + " (JAX arrays are immutable; numpy.array(x) is a copy that can be updated)");
        if (const auto array = described(py::reinterpret_borrow<py::object>(object), where.text())) return *array;
        refuse_type(where, "be a numpy.ndarray, or an array that DLPack or __cuda_array_interface__ describes",
                    PyIter_Check(object.ptr())      ? name + " (list(x) makes a list of its arrays)"
                    : py::hasattr(object, "keys")   ? name + " (dict(x) makes a dict of its arrays)"
                    : PyUnicode_Check(object.ptr()) ? name + " (dict(x) takes pairs of names and arrays)"
                    : is_number(object)             ? name + " (numpy.asarray(x) is an array of it)"
                                                    : name);
    }
    return py::reinterpret_borrow<py::array>(object);
}

/// How to get a copy; other libraries' arrays have ways of their own.
std::string copy_of(const py::array& array) { return given_of(array) ? "a contiguous copy" : "x.copy()"; }

/// The way to numbers of a type that is taken.
std::string way_out(const py::array& array) {
    const py::dtype dtype = array.dtype();
    if (text(dtype) == "uint16") return " (fusedstep.as_bfloat16(x) marks the bits of bfloat16)";
    const bool own = !given_of(array);
    switch (dtype.kind()) {
        case 'c':
            return own ? " (x.view(x.real.dtype) shares its memory as pairs of real numbers)"
                       : " (torch.view_as_real(x) shares the memory of a tensor)";
        case 'V': return "";
        default: return own ? " (x.astype('float32') is a copy)" : " (a copy in float32 is taken)";
    }
}

void check_order(const py::array& array, const Where& where) {
    if (!is_native(array))
        refuse_type(where, "have native byte order",
                    text(array.dtype()) + " (x.astype(x.dtype.newbyteorder('=')) is a copy)");
}

void check_float(const py::array& array, const Where& where) {
    if (!find_type(array))
        refuse_type(where, "have dtype float32, float64, float16 or bfloat16", text(array.dtype()) + way_out(array));
    check_order(array, where);
}

void check_memory(const py::array& array, const Where& where, bool written) {
    if (written) check_written(array, where);
    if (array.size() == 0) return;
    if (!(array.flags() & aligned))
        refuse(where, "be aligned to its elements", "an address between them (" + copy_of(array) + " is aligned)");
    if (!is_dense(array))
        refuse(where, "be dense in memory, without gaps, negative or zero strides",
               "shape " + tuple_text(array.shape(), array.ndim()) + " with strides " +
                   tuple_text(array.strides(), array.ndim()) + " (" + copy_of(array) + " is dense)");
}

void check_shape(const py::array& array, const py::ssize_t* shape, py::ssize_t ndim, const Where& where,
                 const Where& of) {
    if (array.ndim() != ndim || !std::equal(shape, shape + ndim, array.shape()))
        refuse(where, "have the shape of " + of.name() + ", " + tuple_text(shape, ndim),
               tuple_text(array.shape(), array.ndim()));
}

void check_same(const py::array& array, const Layout& param, const Where& where, const Where& of) {
    check_device(array, param.device, where, of);
    const auto ndim = py::ssize_t(param.shape.size());
    check_shape(array, param.shape.data(), ndim, where, of);
    if (param.size && !same_strides(array.shape(), param.strides.data(), array.strides(), ndim))
        refuse(where, "have the strides of " + of.name() + ", " + tuple_text(param.strides.data(), ndim),
               tuple_text(array.strides(), ndim) + " (a copy into an empty_like() of " + of.name() + " has them)");
}

void check_type(const py::array& array, const std::string& type, const Where& where) {
    if (const std::string own = type_name_of(array); own != type)
        refuse_type(where, "have dtype " + type, own + (own == "uint16" ? way_out(array) : ""));
    check_order(array, where);
}

}  // namespace

void check_device(const py::array& array, const Device& device, const Where& where, const Where& of) {
    if (const Device own = device_of(array); own != device)
        refuse(where, "be on the device of " + of.name() + ", " + name_of(device), "an array on " + name_of(own));
}

bool is_dense(const py::array& array) {
    if (array.flags() & contiguous) return true;
    std::vector<int> axes(size_t(array.ndim()));
    std::iota(axes.begin(), axes.end(), 0);
    std::erase_if(axes, [&](int axis) { return array.shape(axis) == 1; });
    std::sort(axes.begin(), axes.end(), [&](int a, int b) { return array.strides(a) < array.strides(b); });
    py::ssize_t expected = array.itemsize();
    for (const int axis : axes) {
        if (array.strides(axis) != expected) return false;
        expected *= array.shape(axis);
    }
    return true;
}

std::string type_name_of(const py::array& array) {
    // NumPy makes a name anew whenever it is asked for one.
    if (is_native(array))
        if (const std::optional<Type> type = find_type(array)) return name_of(*type);
    return text(array.dtype());
}

std::string name_of(Type type) {
    constexpr const char* names[] = {"float32", "float64", "float16", "bfloat16"};
    return names[int(type)];
}

std::optional<Type> find_type(const py::array& array) {
    const py::dtype dtype = array.dtype();
    if (dtype.kind() == 'f') {
        if (dtype.itemsize() == 2) return Type::float16;
        if (dtype.itemsize() == 4) return Type::float32;
        if (dtype.itemsize() == 8) return Type::float64;
    }
    if (marked(array) || is_bfloat16(dtype)) return Type::bfloat16;
    return {};
}

Type type_of(const py::array& array) { return find_type(array).value(); }

bool is_native(const py::array& array) {
    const char order = array.dtype().byteorder();
    // Arrays over memory of ctypes and multiprocessing have the processor's own order by its name.
    constexpr char own = std::endian::native == std::endian::little ? '<' : '>';
    return order == '=' || order == '|' || order == own;
}

Layout::Layout(const py::array& array)
    : dtype(array.dtype()),
      type(type_of(array)),
      shape(array.shape(), array.shape() + array.ndim()),
      strides(array.strides(), array.strides() + array.ndim()),
      size(array.size()),
      itemsize(array.itemsize()),
      device(device_of(array)) {}

void Layout::reshape(const py::array& array) {
    shape.assign(array.shape(), array.shape() + array.ndim());
    strides.assign(array.strides(), array.strides() + array.ndim());
    size = array.size();
}

Layout Layout::with_items_of(int64_t bytes) const {
    Layout made = *this;
    for (py::ssize_t& stride : made.strides) stride = stride / itemsize * bytes;
    made.itemsize = bytes;
    return made;
}

void check_written(const py::array& array, const Where& where) {
    if (!(array.flags() & writeable))
        refuse(where, "be writeable", "a read-only array (" + copy_of(array) + " is writeable)");
}

py::array check_param(py::handle object, const Where& where, bool written) {
    py::array array = check_array(object, where);
    check_float(array, where);
    check_memory(array, where, written);
    return array;
}

py::array check_read(py::handle object, const Where& where) { return check_param(object, where, false); }

py::array check_alike(py::handle object, const Layout& other, const Where& where, const Where& of) {
    py::array array = check_read(object, where);
    if (type_of(array) != other.type)
        refuse_type(where, "have the dtype of " + of.name() + ", " + name_of(other.type), type_name_of(array));
    check_same(array, other, where, of);
    return array;
}

void check_shape(const py::array& array, const py::array& other, const Where& where, const Where& of) {
    check_shape(array, other.shape(), other.ndim(), where, of);
}

py::array check_grad(py::handle object, const Layout& param, const Where& where, const Where& of) {
    py::array array = check_array(object, where);
    check_float(array, where);
    check_same(array, param.with_items_of(array.itemsize()), where, of);
    check_memory(array, where, false);
    return array;
}

py::array check_copy(py::handle object, const Layout& param, const Where& where, const Where& of) {
    py::array array = check_grad(object, param, where, of);
    check_memory(array, where, true);
    return array;
}

py::array check_state(py::handle object, const Layout& param, const std::string& type, const Where& where,
                      const Where& of) {
    if (fits(object, param) && (py::detail::array_proxy(object.ptr())->flags & writeable) &&
        type == name_of(param.type))
        return py::reinterpret_borrow<py::array>(object);
    py::array array = check_array(object, where);
    check_type(array, type, where);
    check_same(array, param.with_items_of(array.itemsize()), where, of);
    check_memory(array, where, true);
    return array;
}

py::array check_ring(py::handle object, const Layout& param, int64_t planes, const std::string& type,
                     const Where& where, const Where& of) {
    py::array array = check_array(object, where);
    check_type(array, type, where);
    Layout ring = param.with_items_of(array.itemsize());
    ring.shape.insert(ring.shape.begin(), planes);
    ring.strides.insert(ring.strides.begin(), param.size * array.itemsize());
    check_device(array, param.device, where, of);
    const std::string alike = std::to_string(planes) + " arrays like " + of.name();
    check_same(array, ring, where, {of.optimizer, alike});
    check_memory(array, where, true);
    return array;
}

py::array check_scales(py::handle object, int64_t count, const Where& where) {
    py::array array = check_array(object, where);
    check_type(array, "float32", where);
    if (array.ndim() != 1 || array.shape(0) != count)
        refuse(where, "have a scale for each block of 128 elements, shape (" + std::to_string(count) + ",)",
               tuple_text(array.shape(), array.ndim()));
    check_memory(array, where, true);
    return array;
}

py::array check_scalar(py::handle object, const Where& where) {
    py::array array = check_array(object, where);
    const bool fits = array.dtype().kind() == 'f' && array.itemsize() == 8 && array.ndim() == 0 && is_native(array);
    if (!fits)
        refuse(where, "be a float64 array of shape ()",
               text(array.dtype()) + " of shape " + tuple_text(array.shape(), array.ndim()));
    check_memory(array, where, true);
    return array;
}

py::array check_number(py::handle object, const Device& device, const Where& where, const Where& of) {
    py::array array = check_array(object, where);
    check_device(array, device, where, of);
    const std::optional<Type> type = find_type(array);
    if (type != Type::float32 && type != Type::float64)
        refuse_type(where, "have dtype float32 or float64", type_name_of(array));
    check_order(array, where);
    if (array.ndim() > 1 || array.size() != 1)
        refuse(where, "have one element, shape () or (1,)", tuple_text(array.shape(), array.ndim()));
    check_memory(array, where, false);
    return array;
}

bool fits(py::handle object, const Layout& param) {
    if (!is_plain(object)) return false;
    const auto* array = py::detail::array_proxy(object.ptr());
    const size_t ndim = param.shape.size();
    if (param.type == Type::bfloat16 && param.dtype.kind() == 'u') return false;  // only bits that are marked
    return array->descr == param.dtype.ptr() && size_t(array->nd) == ndim && (array->flags & aligned) &&
           std::equal(param.shape.begin(), param.shape.end(), array->dimensions) &&
           std::equal(param.strides.begin(), param.strides.end(), array->strides);
}

}  // namespace fusedstep::bindings
