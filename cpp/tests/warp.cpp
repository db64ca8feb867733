// A warp against a thread that does all of its work alone: who holds which elements, and what the lanes find out
// together, must change no bit. Thirty-two threads play the lanes.
#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstring>
#include <thread>
#include <vector>

#include "../cuda/stats.hpp"
#include "../cuda/update.hpp"
#include "check.hpp"
#include "random.hpp"
#include "simulated/alone.hpp"

namespace {

using namespace fusedstep;
using namespace fusedstep::cuda;

/// What the lanes of a warp share.
struct Exchange {
    std::barrier<> all{32}, halves[2] = {std::barrier<>(16), std::barrier<>(16)};
    double values[32];
};

template <int threads_of_row>
struct LaneOf {
    static constexpr int lanes = threads_of_row, rows = 32 / lanes;
    Exchange* exchange;
    int own;

    template <class Pack>
    static void write(void* to, const Pack& pack) {
        std::memcpy(to, &pack, sizeof(pack));
    }

    static void* in_device_memory(void* address) { return address; }
    static void* kept(void* address) { return address; }
    static void ask(const void*) {}

    int lane() const { return own % lanes; }
    int row() const { return own / lanes; }
    void meet() const { exchange->all.arrive_and_wait(); }
    double from(double mine, int lane) const {
        exchange->values[own] = mine;
        exchange->all.arrive_and_wait();
        const double value = exchange->values[lane];
        exchange->all.arrive_and_wait();
        return value;
    }
    bool any(bool mine) const {
        exchange->values[own] = mine;
        exchange->all.arrive_and_wait();
        const bool found = *std::max_element(std::begin(exchange->values), std::end(exchange->values)) != 0;
        exchange->all.arrive_and_wait();
        return found;
    }
    uint32_t largest(uint32_t mine) const {
        for (int other = 1; other < lanes; other *= 2) {
            const auto theirs = uint32_t(from(double(mine), own ^ other));
            mine = theirs > mine ? theirs : mine;
        }
        return mine;
    }
    template <class Join>
    double reduce(double (&numbers)[1], Join join) const {
        std::barrier<>& half = exchange->halves[own / 16];
        for (int next = 8; next > 0; next /= 2) {
            exchange->values[own] = numbers[0];
            half.arrive_and_wait();
            const double theirs = own % 16 + next < 16 ? exchange->values[own + next] : 0;
            half.arrive_and_wait();
            numbers[0] = join(numbers[0], theirs);
        }
        return numbers[0];
    }
    template <class Join>
    double joined(double mine, Join join) const {
        for (int other = 1; other < 32; other *= 2) mine = join(mine, from(mine, own ^ other));
        return mine;
    }
    void count(uint32_t& counter) const { std::atomic_ref(counter).fetch_add(1); }
};
using Lane = LaneOf<32>;

template <class One = Lane, class Work>
void as_a_warp(const Work& work) {
    Exchange exchange;
    std::vector<std::jthread> lanes;
    for (int lane = 0; lane < 32; ++lane) lanes.emplace_back([&, lane] { work(One{&exchange, lane}); });
}

/// A tensor whose arrays have room for every type, and its table of one task.
struct Scene {
    static constexpr int arrays = 2 + Buffers::most_states + 4;  ///< averages, copies, rests and scales
    std::vector<std::vector<double>> memory;
    Task task;
    Turn turn;
    std::vector<Chunk> chunks;
    std::vector<int64_t> first_chunks{0};
    std::vector<double> sums;
    double squares = 0;

    Scene(Random& random, int64_t size, int64_t offset) : memory(arrays) {
        for (auto& array : memory) {
            array.resize(size_t(4 * size + 64));
            // Any bits but those of infinities and NaN, in each type: which payload a NaN has is nobody's promise.
            for (double& value : array) {
                const uint64_t bits = random.bits() & 0xbfffbfffbfffbfff;
                std::memcpy(&value, &bits, sizeof(value));
            }
        }
        task.size = size;
        task.offset = offset;
        task.type = Type::float32;
        task.aligned = offset % 4 == 0;
        task.cargo.tensor = 3;
        for (double& number : turn.update.numbers) number = 0.1 + 0.8 * random.fraction();
        turn.border.shrink = 0.9;
        turn.factor = 0.5;
        turn.step = 7;
        for (int i = 0; i < task.chunks(); ++i) chunks.push_back({0, i});
        sums.resize(chunks.size() * size_t(chunk_blocks));
    }

    /// Addresses are this copy's own.
    Table table(Path path) {
        void* data[arrays];
        for (int i = 0; i < arrays; ++i) data[i] = memory[size_t(i)].data();
        task.buffers = {data[0], data[1], {data[2], data[3], data[4], data[5]}};
        Cargo& cargo = task.cargo;
        if (cargo.average_decay != 0) cargo.average = data[6];
        if (cargo.copy_type != Type::float32) cargo.copy = data[7];
        for (int i = 0; i < 2; ++i)
            if (cargo.state[i].type == Type::code8) cargo.state[i].rest = data[8 + i];
        if (cargo.param.rounding == Rounding::kahan || cargo.param.rounding == Rounding::remainder)
            cargo.param.rest = data[8];
        task.path = path;
        Table table{};
        table.tasks = &task;
        table.task_count = 1;
        table.chunks = chunks.data();
        table.chunk_count = int64_t(chunks.size());
        table.first_chunks = first_chunks.data();
        table.turns = &turn;
        table.sums = sums.data();
        table.squares = &squares;
        return table;
    }

    bool same(const Scene& other) const {
        for (size_t i = 0; i < memory.size(); ++i)
            if (std::memcmp(memory[i].data(), other.memory[i].data(), memory[i].size() * sizeof(double)) != 0)
                return false;
        return true;
    }
};

constexpr Part whole{0, 1, 0, 1};

/// Also with the path that takes everything.
template <class Rule, Path path>
void compare(Scene alone) {
    alone.turn.update.rule = Rules::place<Rule>;
    Scene warp = alone, before = alone, full = alone;
    update<Alone, Rule, float, path>(alone.table(path), whole, Alone());
    using Own = LaneOf<lanes_of(path)>;
    const Table table = warp.table(path);
    const Part part{0, 1, 0, Own::rows};
    as_a_warp<Own>([&](Own lane) { update<Own, Rule, float, path>(table, part, lane); });
    CHECK(warp.same(alone));
    update<Alone, Rule, float, Path::full>(full.table(Path::full), whole, Alone());
    CHECK(full.same(alone));
    CHECK(!warp.same(before));
}

template <class Rule>
Format format_of_state(Type type, int i) {
    return {type, Rule::slow >> i & 1 ? Rounding::stochastic : Rounding::nearest, 1 + i, bool(Rule::signs >> i & 1)};
}

template <class Rule>
void compare_storages(Random& random, int64_t size, int64_t offset) {
    const Scene scene(random, size, offset);
    compare<Rule, Path::bare>(scene);
    Scene changed = scene;
    changed.task.cargo.param = {Type::bfloat16, Rounding::stochastic};
    changed.task.cargo.grad = {Type::float16};
    changed.task.cargo.clip_value = 0.5;
    changed.task.cargo.average_decay = 0.75;
    changed.task.cargo.copy_type = Type::float16;
    compare<Rule, Path::full>(changed);
    changed.task.cargo.param = {Type::bfloat16, Rounding::kahan};
    changed.task.cargo.flush_denormals = true;
    compare<Rule, Path::full>(changed);
    changed.task.cargo.param = {Type::bfloat16, Rounding::remainder};
    compare<Rule, Path::full>(changed);
    Scene mixed = scene;
    Cargo& cargo = mixed.task.cargo;
    cargo.grad = {Type::bfloat16};
    compare<Rule, Path::mixed>(mixed);
    cargo.param = {Type::bfloat16, Rounding::stochastic};
    compare<Rule, Path::mixed>(mixed);
    for (int i = 0; i < 2; ++i) cargo.state[i] = format_of_state<Rule>(Type::bfloat16, i);
    compare<Rule, Path::mixed>(mixed);
    compare<Rule, Path::halves>(mixed);
    if (offset % 128 != 0) return;
    Scene codes = scene;
    for (int i = 0; i < 2; ++i) codes.task.cargo.state[i] = format_of_state<Rule>(Type::code8, i);
    compare<Rule, Path::codes>(codes);
    codes.task.cargo.param = {Type::bfloat16, Rounding::stochastic};
    compare<Rule, Path::codes>(codes);
    codes.task.cargo.grad = {Type::bfloat16};
    codes.task.cargo.clip_value = 0.5;
    compare<Rule, Path::full>(codes);
}

void compare_norms(Random& random, int64_t size, int64_t offset, Type type) {
    Scene alone(random, size, offset);
    for (double& value : alone.memory[1]) {
        value = random.fraction();
        const float both[2] = {float(random.fraction()), float(value)};
        if (type == Type::float32) std::memcpy(&value, both, sizeof(value));
    }
    alone.task.cargo.grad.type = type;
    Scene warp = alone;
    const Table tables[] = {alone.table(Path::bare), warp.table(Path::bare)};
    for (int64_t part = 0; part < 3; ++part) squares(tables[0], part, 3, Alone());
    double gathered[Lane::lanes];
    add_blocks(tables[0], 0, Alone(), gathered);
    as_a_warp([&](Lane lane) {
        for (int64_t part = 0; part < 3; ++part) squares(tables[1], part, 3, lane);
    });
    as_a_warp([&](Lane lane) { add_blocks(tables[1], 0, lane, gathered); });
    CHECK(std::memcmp(alone.sums.data(), warp.sums.data(), alone.sums.size() * sizeof(double)) == 0);
    CHECK(alone.squares == warp.squares && alone.squares > 0);
}

/// The sums of a tensor's blocks, added by pages.
void compare_pages(Random& random, int64_t chunks, int64_t offset) {
    Task task;
    task.size = chunks * chunk;
    task.offset = offset;
    const int64_t first = 0, count = task.chunks() * chunk_blocks;
    std::vector<double> alone(static_cast<size_t>(count));
    for (double& sum : alone) sum = random.fraction();
    std::vector<double> warp = alone;
    double squares[2];
    Table table{};
    table.tasks = &task;
    table.first_chunks = &first;
    table.sums = alone.data();
    table.squares = &squares[0];
    double gathered[Lane::lanes];
    add_blocks(table, 0, Alone(), gathered);
    table.sums = warp.data();
    table.squares = &squares[1];
    as_a_warp([&](Lane lane) { add_blocks(table, 0, lane, gathered); });
    CHECK(squares[0] == squares[1]);
}

/// The factors of so many tensors, of which one may have no norm.
void compare_factors(Random& random, int count, bool of_each, bool skips, double strange) {
    Stages stages;
    stages.grad_scale = 2;
    stages.max_norm = 0.5 * count;
    if (of_each) stages.max_norm_per_tensor = 0.5;
    if (skips) stages.on_nonfinite = Stages::skip;
    std::vector<double> squares(static_cast<size_t>(count));
    for (double& square : squares) square = 4 * random.fraction();
    squares[size_t(count / 2)] += strange;
    std::vector<Turn> turns[2];
    Progress progress[2];
    const auto table = [&](int which) {
        turns[which].resize(size_t(count));
        Table table{};
        table.task_count = count;
        table.squares = squares.data();
        table.turns = turns[which].data();
        table.progress = &progress[which];
        return table;
    };
    settle(table(0), stages, Alone());
    const Table of_warp = table(1);
    as_a_warp([&](Lane lane) { settle(of_warp, stages, lane); });
    const auto same = [](double x, double y) { return x == y || (x != x && y != y); };
    const Outcome &alone = progress[0].last, &warp = progress[1].last;
    CHECK(same(alone.norm, warp.norm) && same(alone.factor, warp.factor) && alone.skipped == warp.skipped);
    CHECK(alone.skipped == (skips && strange != 0));
    double least = turns[0][0].factor;
    for (int i = 0; i < count; ++i) {
        CHECK(same(turns[0][size_t(i)].factor, turns[1][size_t(i)].factor));
        least = Smaller()(least, turns[0][size_t(i)].factor);
    }
    CHECK(alone.skipped || same(alone.factor, least));
}

void compare_stats(Random& random, int64_t size, Type type) {
    Scene scene(random, size, 0);
    void* const arrays[] = {scene.memory[1].data(), scene.memory[2].data(), scene.memory[3].data()};
    for (int64_t i = 0; i < size; i += 3) scene.memory[3][size_t(i)] = scene.memory[2][size_t(i)];
    const Reading reading{arrays[0], type, size, arrays[1], arrays[2], type};
    std::vector<BlockSums> alone(size_t(reading.blocks())), warp = alone;
    uint32_t counters[2][Counter::all] = {};
    for (int part = 0; part < 2; ++part) read(reading, 0, part, 2, Alone(), alone.data(), counters[0]);
    as_a_warp([&](Lane lane) {
        for (int part = 0; part < 2; ++part) read(reading, 0, part, 2, lane, warp.data(), counters[1]);
    });
    CHECK(std::memcmp(counters[0], counters[1], sizeof(counters[0])) == 0);
    for (size_t i = 0; i < alone.size(); ++i) {
        const Moments &a = alone[i].moments, &b = warp[i].moments;
        CHECK(a.absolute == b.absolute && a.squares == b.squares && a.sum == b.sum && a.largest == b.largest);
        const Change &x = alone[i].change, &y = warp[i].change;
        CHECK((x.squares == y.squares || y.squares != y.squares) && (x.before == y.before || y.before != y.before));
    }
}

}  // namespace

int main() {
    Random random(1);
    for (const Type type : {Type::float32, Type::float64, Type::float16, Type::bfloat16})
        for (const int64_t size : {1, 15, 16, 33, 4096, 4097, 3 * 4096 + 17}) compare_stats(random, size, type);
    for (const int count : {1, 2, 31, 32, 33, 300})
        for (const bool of_each : {false, true})
            for (const bool skips : {false, true})
                for (const double strange : {0., HUGE_VAL, double(NAN)})
                    compare_factors(random, count, of_each, skips, strange);
    for (const int64_t chunks : {1, 32, 33, 1025, 3000})
        for (const int64_t offset : {0, 4096, 31 * 8192}) compare_pages(random, chunks, offset);
    for (const int64_t offset : {0, 128, 4095, 8190})
        for (const int64_t size : {1, 3, 127, 128, 130, 515, 8320}) {
            compare_storages<fusedstep::Adaptive<Momentum<double>, Moment<double>>>(random, size, offset);
            compare_storages<fusedstep::Adadelta<double>>(random, size, offset);
            for (const Type type : {Type::float32, Type::float64}) compare_norms(random, size, offset, type);
        }
    return result();
}
