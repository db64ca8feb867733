// The shape in which parameters are given: an array, a list, a dict, or these nested. Gradients mirror it.
#pragma once

#include <pybind11/pybind11.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "where.hpp"

namespace fusedstep::bindings {

namespace py = pybind11;

struct Leaf {
    std::string name;  ///< "w", "net/w" or "3"
    std::string path;  ///< as it stands behind `params` or `grads` in a message: ['net']['w'] or [3] or nothing
    py::object value;
};

/// A list or a tuple: the order of its items is that of the parameters.
inline bool is_list(py::handle object) { return PyList_Check(object.ptr()) || PyTuple_Check(object.ptr()); }

/// The class of what came, for a message about structure.
std::string type_name(py::handle object);

class Structure {
public:
    /// Takes the tree apart. Items of a list at the top are numbered from `first`.
    static Structure of(const py::object& tree, size_t first, const Where& where, std::vector<Leaf>& leaves);

    /// Calls visit(leaf number, leaf) for every leaf of a tree like this one, in the order of the parameters. `of`
    /// names the argument that this one was.
    template <class Visit>
    void match(py::handle tree, const Where& where, std::string_view of, Visit&& visit) const {
        if (kind_ == Kind::leaf) return visit(leaf_, tree);
        check(tree, where.at(path_), of);
        for (size_t i = 0; i < children_.size(); ++i) {
            // Held: what a visit calls may change the tree.
            const auto held = py::reinterpret_borrow<py::object>(child(tree, i));
            if (!held) refuse_change(where.at(path_));
            children_[i].match(held, where, of, visit);
        }
    }

    /// Whether that is one as well, or a list with as many entries: of which it is not said what they are.
    bool is_like(py::handle tree) const {
        if (kind_ == Kind::leaf) return !is_list(tree);
        return kind_ == Kind::list && is_list(tree) && length(tree) == children_.size();
    }

    /// The same structure with other leaves.
    py::object fill(const std::function<py::object(size_t)>& leaf) const;

private:
    enum class Kind { leaf, list, dict };

    void check(py::handle tree, const Where& at, std::string_view argument) const;

    [[noreturn]] static void refuse_change(const Where& where);

    /// Of a list or a tuple, whatever a class of its own says.
    static size_t length(py::handle list) { return size_t(PySequence_Fast_GET_SIZE(list.ptr())); }

    /// Null where it is gone since check().
    py::handle child(py::handle tree, size_t i) const {
        if (kind_ == Kind::list) return i < length(tree) ? PySequence_Fast_GET_ITEM(tree.ptr(), i) : nullptr;
        PyObject* const found = PyDict_GetItemWithError(tree.ptr(), keys_[i].ptr());
        if (!found && PyErr_Occurred()) throw py::error_already_set();
        return found;
    }

    Kind kind_ = Kind::leaf;
    size_t leaf_ = 0;
    std::string path_;
    std::vector<py::object> keys_;
    std::vector<Structure> children_;
};

}  // namespace fusedstep::bindings
