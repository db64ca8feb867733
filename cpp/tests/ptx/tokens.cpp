#include "tokens.hpp"

#include <algorithm>
#include <cctype>

namespace fusedstep::ptx {

std::string_view Statements::token() {
    for (;;) {
        while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
        if (text_.substr(at_).starts_with("//")) {
            at_ = std::min(text_.find('\n', at_), text_.size());
        } else if (text_.substr(at_).starts_with("/*")) {
            at_ = std::min(text_.find("*/", at_), text_.size() - 2) + 2;
        } else {
            break;
        }
    }
    if (at_ == text_.size() || text_[at_] == '\0') return {};
    const size_t begin = at_;
    const auto belongs = [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' || c == '.';
    };
    if (text_[at_] == '"') {
        at_ = text_.find('"', at_ + 1) + 1;
    } else if (belongs(text_[at_])) {
        // Of `ld.global.L1::no_allocate`, too
        while (at_ < text_.size() && (belongs(text_[at_]) || text_.substr(at_).starts_with("::")))
            at_ += belongs(text_[at_]) ? 1 : 2;
    } else {
        ++at_;
    }
    return text_.substr(begin, at_ - begin);
}

bool Statements::next() {
    tokens.clear();
    int depth = 0;
    while (true) {
        const std::string_view one = token();
        if (one.empty()) return !tokens.empty();
        if (tokens.empty()) begin_ = size_t(one.data() - text_.data());
        tokens.push_back(one);
        // A brace inside a statement holds a vector
        if (one == "{" && tokens.size() > 1 && tokens.front() != ".entry" && tokens.front() != ".visible")
            ++depth;
        else if (one == "}" && depth > 0)
            --depth;
        else if (one == ";" || one == "{" || one == "}" || (one == ":" && tokens.size() == 2))
            return true;
        // These two end with their line
        if (tokens.front() == ".version" || tokens.front() == ".target" || tokens.front() == ".address_size") {
            at_ = std::min(text_.find('\n', at_), text_.size());
            tokens.clear();
        }
    }
}

}  // namespace fusedstep::ptx
