#include "program.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <unordered_map>

#include "forms.hpp"
#include "tokens.hpp"

namespace fusedstep::ptx {
namespace {

const Forms& forms() {
    static const Forms all = [] {
        Forms made;
        add_arithmetic(made);
        add_conversions(made);
        add_transfers(made);
        add_meetings(made);
        return made;
    }();
    return all;
}

using Tokens = std::vector<std::string_view>;

uint64_t number(std::string_view text) {
    int base = 10;
    if (text.size() == 10 && (text.starts_with("0f") || text.starts_with("0F")))
        text.remove_prefix(2), base = 16;
    else if (text.size() == 18 && (text.starts_with("0d") || text.starts_with("0D")))
        text.remove_prefix(2), base = 16;
    else if (text.starts_with("0x"))
        text.remove_prefix(2), base = 16;
    if (text.ends_with('U')) text.remove_suffix(1);
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size())
        throw Fault("a number was expected, got " + std::string(text));
    return value;
}

bool is_number(std::string_view text) { return !text.empty() && text[0] >= '0' && text[0] <= '9'; }

size_t up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

int bytes_of(std::string_view type) {
    if (type == ".pred") return 0;
    return int(number(type.substr(2))) / 8;
}

/// One operand, as it is written: words, and what is added to an address.
struct Operand {
    Tokens words;
    bool address = false, vector = false, negative = false;
    int64_t offset = 0;
};

/// Reads one kernel.
class Reader {
public:
    explicit Reader(Kernel& kernel) : kernel_(kernel) {}

    void parameter(const Tokens& tokens) {
        const Variable variable = declared(tokens, Space::param, kernel_.param_bytes);
        kernel_.parameters.push_back({variable.address, kernel_.param_bytes - variable.address});
    }

    void statement(const Tokens& tokens, std::string_view source) {
        const std::string_view first = tokens[0];
        if (tokens.size() == 2 && tokens[1] == ":") {
            if (!labels_.try_emplace(first, uint32_t(kernel_.code.size())).second) throw Fault("it is there twice");
        } else if (first == ".reg")
            registers(tokens);
        else if (first == ".shared")
            declared(tokens, Space::shared, kernel_.shared_bytes);
        else if (first == ".local")
            declared(tokens, Space::local, kernel_.local_bytes);
        else if (first == ".pragma" || first == ";")
            return;
        else if (first[0] == '.')
            throw Fault("what is this?");
        else
            instruction(tokens, source);
    }

    void finish() {
        for (const auto& [at, label] : jumps_) {
            if (!labels_.contains(label)) throw Fault("there is no label " + std::string(label));
            kernel_.code[at].target = labels_.at(label);
        }
    }

private:
    struct Register {
        uint32_t place;
        int bytes;
    };
    struct Variable {
        Space space;
        uint64_t address;
    };

    uint32_t room(int bytes) {
        const auto place = uint32_t(kernel_.frame_bytes);
        kernel_.frame_bytes += up(size_t(std::max(bytes * lanes, 4)), 64);
        return place;
    }

    void registers(const Tokens& tokens) {
        const int bytes = bytes_of(tokens[1]);
        for (size_t i = 2; i < tokens.size() && tokens[i] != ";"; ++i) {
            const std::string name(tokens[i]);
            if (tokens[i + 1] == "<") {
                for (uint64_t n = 0; n < number(tokens[i + 2]); ++n)
                    registers_[name + std::to_string(n)] = {room(bytes), bytes};
                i += 4;
            } else {
                registers_[name] = {room(bytes), bytes};
                i += 1;
            }
        }
    }

    Variable declared(const Tokens& tokens, Space space, size_t& total) {
        size_t align = 1, bytes = 0, i = 1;
        for (; i < tokens.size() && tokens[i][0] == '.'; ++i) {
            if (tokens[i] == ".align")
                align = number(tokens[++i]);
            else if (tokens[i] == ".ptr")
                throw Fault("what is this?");
            else
                bytes = size_t(bytes_of(tokens[i]));
        }
        align = std::max(align, bytes);
        const std::string_view name = tokens[i];
        if (i + 1 < tokens.size() && tokens[i + 1] == "[") bytes *= number(tokens[i + 2]);
        total = up(total, align);
        const Variable made{space, total};
        total += bytes;
        return variables_[name] = made;
    }

    uint32_t constant(int bytes, uint64_t value) {
        if (bytes > 0 && bytes < 8) value &= (uint64_t(1) << 8 * bytes) - 1;
        const auto [found, added] = constants_.try_emplace({bytes, value});
        if (added) {
            found->second = room(bytes);
            kernel_.constants.push_back({found->second, bytes, value});
        }
        return found->second;
    }

    std::optional<uint32_t> filled(std::string_view name) {
        static const std::pair<std::string_view, Kernel::Filled::What> known[] = {{"%tid.", Kernel::Filled::thread},
                                                                                  {"%ntid.", Kernel::Filled::threads},
                                                                                  {"%ctaid.", Kernel::Filled::block},
                                                                                  {"%nctaid.", Kernel::Filled::blocks},
                                                                                  {"%laneid", Kernel::Filled::lane}};
        for (const auto& [prefix, what] : known)
            if (name.starts_with(prefix)) {
                const auto [found, added] = registers_.try_emplace(std::string(name), Register{0, 4});
                if (added) {
                    found->second.place = room(4);
                    kernel_.filled.push_back(
                        {what, what == Kernel::Filled::lane ? 0 : name.back() - 'x', found->second.place});
                }
                return found->second.place;
            }
        return {};
    }

    uint64_t address_of(std::string_view name) {
        if (const auto found = variables_.find(name); found != variables_.end()) return found->second.address;
        throw Fault("there is no " + std::string(name));
    }

    /// Where an operand of so many bytes lies; 0 for a predicate. `stride`, if it is there, may be wider.
    uint32_t place(std::string_view word, bool negative, int bytes, uint8_t* stride = nullptr) {
        if (is_number(word)) {
            if (bytes == 0) return constant(0, number(word) ? everyone : 0);
            const int held = stride ? 8 : bytes;
            if (stride) *stride = 8;
            return constant(held, negative ? 0 - number(word) : number(word));
        }
        if (const auto place = filled(word)) {
            if (bytes != 4) throw Fault(std::string(word) + " has 4 bytes, not " + std::to_string(bytes));
            return *place;
        }
        if (const auto found = registers_.find(std::string(word)); found != registers_.end()) {
            const Register& own = found->second;
            if (stride ? own.bytes < bytes : own.bytes != bytes)
                throw Fault(std::string(word) + " has " + std::to_string(own.bytes) + " bytes, not " +
                            std::to_string(bytes));
            if (stride) *stride = uint8_t(own.bytes);
            return own.place;
        }
        return constant(bytes, address_of(word));
    }

    static std::vector<Operand> operands(const Tokens& tokens, size_t from) {
        std::vector<Operand> made(1);
        bool braces = false, brackets = false;
        for (size_t i = from; i + 1 < tokens.size(); ++i) {
            const std::string_view one = tokens[i];
            Operand& last = made.back();
            if (one == "{")
                braces = last.vector = true;
            else if (one == "}")
                braces = false;
            else if (one == "[")
                brackets = last.address = true;
            else if (one == "]")
                brackets = false;
            else if (one == "," || one == "|") {
                if (!braces) made.emplace_back();
            } else if (brackets && (one == "+" || one == "-")) {
                const bool minus = one == "-" || tokens[i + 1] == "-";
                i += one == "+" && minus ? 2 : 1;
                last.offset = minus ? -int64_t(number(tokens[i])) : int64_t(number(tokens[i]));
            } else if (one == "-")
                last.negative = true;
            else
                last.words.push_back(one);
        }
        if (made.back().words.empty()) made.pop_back();
        return made;
    }

    void instruction(const Tokens& tokens, std::string_view source) {
        Instruction made;
        made.text = source;
        size_t i = 0;
        if (tokens[0] == "@") {
            made.guarded = true;
            made.negated = tokens[1] == "!";
            i = made.negated ? 2 : 1;
            made.guard = place(tokens[i++], false, 0);
        }
        std::string name(tokens[i++]);
        std::vector<Operand> given = operands(tokens, i);
        name += kind(name, given);
        const auto found = forms().find(name);
        if (found == forms().end()) throw Fault("the instruction " + name + " is not known");
        const Form& form = found->second;
        if (given.size() != form.shape.size())
            throw Fault(name + " has " + std::to_string(form.shape.size()) + " operands here");
        made.run = form.run;
        made.space = form.space;
        made.count = form.count;
        uint32_t held = 0, addresses = 0, strides = 0;
        for (size_t n = 0; n < given.size(); ++n) {
            const Operand& own = given[n];
            const char letter = form.shape[n];
            if (own.address != (letter == 'a') || (own.vector && letter != 'v'))
                throw Fault("operand " + std::to_string(n) + " is of another kind");
            const size_t words = letter == 'v' ? form.count : 1;
            if (own.words.size() != words) throw Fault("operand " + std::to_string(n) + " has another number of parts");
            switch (letter) {
                case 'a':
                    made.operand[4 + addresses] = place(own.words[0], false, 8 == width(own.words[0]) ? 8 : 4);
                    made.wide[addresses] = width(own.words[0]) == 8;
                    made.offset[addresses++] = own.offset;
                    break;
                case 'l':
                    made.branches = true;
                    jumps_.push_back({kernel_.code.size(), own.words[0]});
                    break;
                case '0':
                    if (own.words[0] != "0") throw Fault("only the barrier 0 is known");
                    kernel_.has_barriers = true;
                    break;
                case 'p': made.operand[held++] = place(own.words[0], false, 0); break;
                case 'd': made.operand[held++] = place(own.words[0], false, 1, &made.stride[strides++]); break;
                case 'r':
                    made.operand[held++] = place(own.words[0], own.negative, form.bytes, &made.stride[strides++]);
                    break;
                case 'v':
                    for (const std::string_view word : own.words)
                        made.operand[held++] = place(word, own.negative, form.bytes, &made.stride[0]);
                    break;
                default: made.operand[held++] = place(own.words[0], own.negative, letter - '0');
            }
        }
        kernel_.code.push_back(made);
    }

    int width(std::string_view word) {
        const auto found = registers_.find(std::string(word));
        return found == registers_.end() ? 8 : found->second.bytes;
    }

    /// What tells instructions of one name apart: which operand is a vector.
    static std::string kind(std::string_view name, const std::vector<Operand>& given) {
        if (name.starts_with("mov.") && given.size() == 2)
            return given[0].vector ? " unpack" : given[1].vector ? " pack" : "";
        return "";
    }

    Kernel& kernel_;
    std::unordered_map<std::string, Register> registers_;
    std::unordered_map<std::string_view, Variable> variables_;
    std::unordered_map<std::string_view, uint32_t> labels_;
    std::map<std::pair<int, uint64_t>, uint32_t> constants_;
    std::vector<std::pair<size_t, std::string_view>> jumps_;
};

/// The tokens of each of a kernel's parameters.
std::vector<Tokens> parameters_of(const Tokens& head) {
    std::vector<Tokens> made;
    bool inside = false;
    for (const std::string_view token : head) {
        if (token == "(")
            inside = true;
        else if (token == ")")
            break;
        else if (inside && token == ".param")
            made.push_back({token});
        else if (inside && token != ",")
            made.back().push_back(token);
    }
    return made;
}

}  // namespace

std::map<std::string, Kernel, std::less<>> kernels_of(std::string_view text) {
    std::map<std::string, Kernel, std::less<>> kernels;
    Statements statements(text);
    while (statements.next()) {
        const Tokens head = statements.tokens;
        const auto entry = std::ranges::find(head, ".entry");
        if (entry == head.end()) throw Fault("outside of a kernel: " + std::string(statements.source()));
        Kernel& kernel = kernels[std::string(entry[1])];
        kernel.name = entry[1];
        Reader reader(kernel);
        for (const auto& parameter : parameters_of(head)) reader.parameter(parameter);
        if (const auto most = std::ranges::find(head, ".maxntid"); most != head.end())
            kernel.most_threads = unsigned(number(most[1]));
        try {
            for (int depth = 1; depth > 0 && statements.next();) {
                if (statements.tokens[0] == "{")
                    ++depth;
                else if (statements.tokens[0] == "}")
                    --depth;
                else
                    reader.statement(statements.tokens, statements.source());
            }
            reader.finish();
        } catch (const Fault& fault) {
            throw Fault(kernel.name + ": " + std::string(statements.source()) + ": " + fault.what());
        }
    }
    return kernels;
}

}  // namespace fusedstep::ptx
