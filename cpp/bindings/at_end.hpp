// Calls something at the end of a scope, however that comes.
#pragma once

namespace fusedstep::bindings {

template <class Last>
class AtEnd {
public:
    explicit AtEnd(const Last& last) : last_(last) {}
    ~AtEnd() { last_(); }
    AtEnd(const AtEnd&) = delete;
    AtEnd& operator=(const AtEnd&) = delete;

private:
    const Last last_;
};

}  // namespace fusedstep::bindings
