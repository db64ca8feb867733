#include "structure.hpp"

namespace fusedstep::bindings {
namespace {

std::string quoted(const std::string& text) { return "'" + text + "'"; }

/// Deeper trees are taken for ones that hold themselves.
constexpr int most_depth = 100;

std::string key_text(py::handle key, const Where& where) {
    if (!py::isinstance<py::str>(key))
        throw py::type_error(where.text() + " must have strings as names, got " + py::repr(key).cast<std::string>());
    Py_ssize_t size = 0;
    const char* const utf8 = PyUnicode_AsUTF8AndSize(key.ptr(), &size);
    PyErr_Clear();
    const std::string text = utf8 ? std::string(utf8, size_t(size)) : "";
    if (text.empty() || text.find('/') != std::string::npos)
        throw py::value_error(where.text() +
                              " must have names that are not empty and without '/', which joins nested ones, got " +
                              py::repr(key).cast<std::string>());
    return text;
}

}  // namespace

std::string type_name(py::handle object) { return Py_TYPE(object.ptr())->tp_name; }

Structure Structure::of(const py::object& tree, size_t first, const Where& where, std::vector<Leaf>& leaves) {
    const auto build = [&](const auto& self, const py::object& node, const std::string& prefix, const std::string& path,
                           int depth) -> Structure {
        if (depth > most_depth)
            throw py::value_error(where.text() + " must be nested at most " + std::to_string(most_depth) +
                                  " deep, got a structure that is deeper");
        Structure made;
        made.path_ = path;
        const bool top = depth == 0;
        if (py::isinstance<py::dict>(node)) {
            made.kind_ = Kind::dict;
            for (const auto& [key, value] : node.cast<py::dict>()) {
                const std::string name = key_text(key, where.at(path));
                made.keys_.push_back(py::reinterpret_borrow<py::object>(key));
                made.children_.push_back(self(self, py::reinterpret_borrow<py::object>(value),
                                              top ? name : prefix + "/" + name, path + "[" + quoted(name) + "]",
                                              depth + 1));
            }
        } else if (is_list(node)) {
            made.kind_ = Kind::list;
            size_t i = 0;
            for (const py::handle item : node) {
                const std::string number = std::to_string(i), name = std::to_string(i + (top ? first : 0));
                made.children_.push_back(self(self, py::reinterpret_borrow<py::object>(item),
                                              top ? name : prefix + "/" + name, path + "[" + number + "]", depth + 1));
                ++i;
            }
        } else {
            made.leaf_ = leaves.size();
            leaves.push_back({top ? std::to_string(first) : prefix, path, node});
        }
        return made;
    };
    return build(build, tree, "", "", 0);
}

void Structure::check(py::handle tree, const Where& at, std::string_view argument) const {
    // Put together only where something is wrong.
    const auto where = [&] { return at.text(); };
    const auto of = [&] { return Where{at.optimizer, argument, at.place, at.path}.name(); };
    if (kind_ == Kind::list) {
        if (!is_list(tree))
            throw py::type_error(where() + " must be a list or a tuple, like " + of() + ", got " + type_name(tree));
        if (length(tree) != children_.size())
            throw py::value_error(where() + " must have " + std::to_string(children_.size()) +
                                  " entries, one for each of " + of() + ", got " + std::to_string(length(tree)));
        return;
    }
    if (!PyDict_Check(tree.ptr()))
        throw py::type_error(where() + " must be a dict, like " + of() + ", got " + type_name(tree));
    for (const py::object& key : keys_) {
        const int found = PyDict_Contains(tree.ptr(), key.ptr());
        if (found < 0) throw py::error_already_set();
        if (found == 0)
            throw py::value_error(where() + " must have every name of " + of() + " (None skips one), got none for " +
                                  py::repr(key).cast<std::string>());
    }
    if (size_t(PyDict_Size(tree.ptr())) == keys_.size()) return;
    // A list of its own: to compare a key of a class of its own may change the dict.
    const auto given = py::reinterpret_steal<py::list>(PyDict_Keys(tree.ptr()));
    if (!given) throw py::error_already_set();
    py::set known;
    for (const py::object& key : keys_) known.add(key);
    for (const py::handle key : given)
        if (!known.contains(key))
            throw py::value_error(where() + " must have only the names of " + of() + ", got " +
                                  py::repr(key).cast<std::string>());
}

void Structure::refuse_change(const Where& where) {
    throw py::value_error(where.text() + " must stay as it is while it is read, got one that has lost entries");
}

py::object Structure::fill(const std::function<py::object(size_t)>& leaf) const {
    if (kind_ == Kind::leaf) return leaf(leaf_);
    if (kind_ == Kind::dict) {
        py::dict made;
        for (size_t i = 0; i < keys_.size(); ++i) made[keys_[i]] = children_[i].fill(leaf);
        return std::move(made);
    }
    py::list made;
    for (const Structure& child : children_) made.append(child.fill(leaf));
    return std::move(made);
}

}  // namespace fusedstep::bindings
