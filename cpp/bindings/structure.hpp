// The shape in which parameters are given: an array, a list, a dict, or these nested. Gradients mirror it.
#pragma once

#include <pybind11/pybind11.h>

#include <functional>
#include <string>
#include <vector>

namespace fusedstep::bindings {

namespace py = pybind11;

struct Leaf {
    std::string name;  ///< "w", "net/w" or "3"
    std::string path;  ///< as it stands behind `params` or `grads` in a message: ['net']['w'] or [3] or nothing
    py::object value;
};

class Structure {
public:
    /// Takes the tree apart. Items of a list at the top are numbered from `first`; `place` is the tree's own place in
    /// the argument, [1] of the second group.
    static Structure of(const py::object& tree, size_t first, const std::string& optimizer, const std::string& place,
                        std::vector<Leaf>& leaves, const char* argument = "params");

    /// Calls visit(leaf number, leaf) for every leaf of a tree like this one, in the order of the parameters.
    template <class Visit>
    void match(py::handle tree, const std::string& optimizer, const std::string& argument, const std::string& place,
               Visit&& visit) const {
        if (kind_ == Kind::leaf) return visit(leaf_, tree);
        check(tree, optimizer, argument, place);
        for (size_t i = 0; i < children_.size(); ++i) {
            // Held: what a visit calls may change the tree.
            const auto held = py::reinterpret_borrow<py::object>(child(tree, i));
            if (!held) refuse_change(optimizer, argument, place);
            children_[i].match(held, optimizer, argument, place, visit);
        }
    }

    /// Whether it is one array.
    bool is_leaf() const { return kind_ == Kind::leaf; }

    /// The same structure with other leaves.
    py::object fill(const std::function<py::object(size_t)>& leaf) const;

private:
    enum class Kind { leaf, list, dict };

    void check(py::handle tree, const std::string& optimizer, const std::string& argument,
               const std::string& place) const;

    [[noreturn]] void refuse_change(const std::string& optimizer, const std::string& argument,
                                    const std::string& place) const;

    /// Null where it is gone since check().
    py::handle child(py::handle tree, size_t i) const {
        if (kind_ == Kind::dict) return PyDict_GetItem(tree.ptr(), keys_[i].ptr());
        if (PyTuple_Check(tree.ptr())) return PyTuple_GET_ITEM(tree.ptr(), py::ssize_t(i));
        return i < size_t(PyList_GET_SIZE(tree.ptr())) ? PyList_GET_ITEM(tree.ptr(), py::ssize_t(i)) : nullptr;
    }

    Kind kind_ = Kind::leaf;
    size_t leaf_ = 0;
    const char* argument_ = "params";  ///< that the tree was given as
    std::string path_;
    std::vector<py::object> keys_;
    std::vector<Structure> children_;
};

}  // namespace fusedstep::bindings
