#include "arrays.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace fusedstep::bindings {
namespace {

constexpr int aligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
constexpr int writeable = py::detail::npy_api::NPY_ARRAY_WRITEABLE_;

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

bool dense(const py::array& array) {
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

py::array check_array(py::handle object, const Where& where) {
    if (!py::isinstance<py::array>(object)) {
        const std::string name = type_name(object);
        std::string hint;
        if (name.starts_with("jax")) hint = " (JAX arrays are immutable; numpy.array(x) is a copy that can be updated)";
        if (name.starts_with("torch.")) hint = " (tensor.detach().numpy() shares the memory of a CPU tensor)";
        refuse_type(where, "be a numpy.ndarray", name + hint);
    }
    // A masked array's plain data would be updated under the mask.
    const py::object mask = py::getattr(object, "mask", py::none());
    if (!mask.is_none()) refuse_type(where, "be a plain numpy.ndarray", type_name(object) + " (use its .data)");
    return py::reinterpret_borrow<py::array>(object);
}

void check_float(const py::array& array, const Where& where) {
    const py::dtype dtype = array.dtype();
    const bool floating = dtype.kind() == 'f' && (dtype.itemsize() == 4 || dtype.itemsize() == 8);
    if (!floating) refuse_type(where, "have dtype float32 or float64", text(dtype));
    const char order = dtype.byteorder();
    if (order != '=' && order != '|')
        refuse_type(where, "have native byte order", text(dtype) + " (x.astype(x.dtype.newbyteorder('=')) is a copy)");
}

void check_memory(const py::array& array, const Where& where, bool written) {
    if (written && !(array.flags() & writeable)) refuse(where, "be writeable", "a read-only array");
    if (array.size() == 0) return;
    if (!(array.flags() & aligned))
        refuse(where, "be aligned to its elements", "an array at an odd address (x.copy() is aligned)");
    if (!dense(array))
        refuse(where, "be dense in memory, without gaps, negative or zero strides",
               "shape " + tuple_text(array.shape(), array.ndim()) + " with strides " +
                   tuple_text(array.strides(), array.ndim()) + " (x.copy() is dense)");
}

void check_same(const py::array& array, const Layout& param, const Where& where, const Where& of) {
    if (!array.dtype().equal(param.dtype))
        refuse_type(where, "have the dtype of " + of.name() + ", " + text(param.dtype), text(array.dtype()));
    const auto ndim = py::ssize_t(param.shape.size());
    const std::string whose = of.name() + ", ";
    if (array.ndim() != ndim || !std::equal(param.shape.begin(), param.shape.end(), array.shape()))
        refuse(where, "have the shape of " + whose + tuple_text(param.shape.data(), ndim),
               tuple_text(array.shape(), array.ndim()));
    if (param.size && !same_strides(array.shape(), param.strides.data(), array.strides(), ndim))
        refuse(where, "have the strides of " + whose + tuple_text(param.strides.data(), ndim),
               tuple_text(array.strides(), ndim));
}

}  // namespace

Layout::Layout(const py::array& array)
    : dtype(array.dtype()),
      type(array.itemsize() == 4 ? Type::float32 : Type::float64),
      shape(array.shape(), array.shape() + array.ndim()),
      strides(array.strides(), array.strides() + array.ndim()),
      size(array.size()) {}

py::array check_param(py::handle object, const Where& where) {
    py::array array = check_array(object, where);
    check_float(array, where);
    check_memory(array, where, true);
    return array;
}

py::array check_like(py::handle object, const Layout& param, const Where& where, const Where& of) {
    py::array array = check_array(object, where);
    check_float(array, where);
    check_same(array, param, where, of);
    check_memory(array, where, false);
    return array;
}

py::array check_state(py::handle object, const Layout& param, const Where& where, const Where& of) {
    py::array array = check_like(object, param, where, of);
    check_memory(array, where, true);
    return array;
}

py::array check_ring(py::handle object, const Layout& param, int64_t planes, const Where& where, const Where& of) {
    py::array array = check_array(object, where);
    check_float(array, where);
    Layout ring = param;
    ring.shape.insert(ring.shape.begin(), planes);
    ring.strides.insert(ring.strides.begin(), param.size * array.itemsize());
    ring.size = planes * param.size;
    check_same(array, ring, where, of);
    check_memory(array, where, true);
    return array;
}

py::array check_scalar(py::handle object, const Where& where) {
    py::array array = check_array(object, where);
    const bool fits =
        array.dtype().kind() == 'f' && array.itemsize() == 8 && array.ndim() == 0 && array.dtype().byteorder() == '=';
    if (!fits)
        refuse(where, "be a float64 array of shape ()",
               text(array.dtype()) + " of shape " + tuple_text(array.shape(), array.ndim()));
    check_memory(array, where, true);
    return array;
}

bool fits(py::handle object, const Layout& param) {
    if (Py_TYPE(object.ptr()) != py::detail::npy_api::get().PyArray_Type_) return false;
    const auto* array = py::detail::array_proxy(object.ptr());
    const size_t ndim = param.shape.size();
    return array->descr == param.dtype.ptr() && size_t(array->nd) == ndim && (array->flags & aligned) &&
           std::memcmp(array->dimensions, param.shape.data(), ndim * sizeof(py::ssize_t)) == 0 &&
           std::memcmp(array->strides, param.strides.data(), ndim * sizeof(py::ssize_t)) == 0;
}

Span span_of(const py::array& array, const Where& where) {
    const char* begin = static_cast<const char*>(array.data());
    return {begin, begin + array.nbytes(), where.name()};
}

void Territory::claim(std::vector<Span> spans, const std::string& optimizer) {
    std::vector<Span> all = spans_;
    for (Span& span : spans)
        if (span.begin != span.end) all.push_back(std::move(span));
    std::sort(all.begin(), all.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
    for (size_t i = 1; i < all.size(); ++i)
        if (all[i].begin < all[i - 1].end)
            throw py::value_error(optimizer + ": " + all[i - 1].owner + " and " + all[i].owner +
                                  " must not overlap in memory, got arrays that share " +
                                  std::to_string(std::min(all[i - 1].end, all[i].end) - all[i].begin) + " bytes");
    spans_ = std::move(all);
}

void Territory::keep_out(const py::array& array, const Where& where) const {
    const Span read = span_of(array, where);
    if (read.begin == read.end) return;
    const auto next = std::upper_bound(spans_.begin(), spans_.end(), read.begin,
                                       [](const char* begin, const Span& span) { return begin < span.begin; });
    const Span* hit = nullptr;
    if (next != spans_.end() && next->begin < read.end) hit = &*next;
    if (next != spans_.begin() && std::prev(next)->end > read.begin) hit = &*std::prev(next);
    if (hit) refuse(where, "not overlap " + hit->owner + " in memory", "an array that shares its memory");
}

}  // namespace fusedstep::bindings
