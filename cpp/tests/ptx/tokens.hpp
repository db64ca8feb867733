// The words and signs of a text.
#pragma once

#include <string_view>
#include <vector>

namespace fusedstep::ptx {

/// Goes through a text statement by statement. What ends one is its last token: `;`, `{`, `}` or a label's `:`.
class Statements {
public:
    explicit Statements(std::string_view text) : text_(text) {}

    /// False at the end.
    bool next();

    std::vector<std::string_view> tokens;
    std::string_view source() const { return text_.substr(begin_, at_ - begin_); }

private:
    /// Empty at the end.
    std::string_view token();

    std::string_view text_;
    size_t at_ = 0, begin_ = 0;
};

}  // namespace fusedstep::ptx
