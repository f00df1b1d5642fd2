#include "cache/trimmer.h"

#include <sys/stat.h>

#include <array>
#include <deque>
#include <vector>

#include "base/checksum.h"
#include "base/log.h"

namespace larder::cache {
namespace {

// Which ids were added; says yes to a few more.  Two bits of 2^23 an id: with a million directories
// one in twenty is taken for another.
class IdFilter {
 public:
  void add(NodeId id) {
    for (const uint64_t bit : bits_of(id)) words_[bit / 64] |= 1ULL << (bit % 64);
  }
  bool may_have(NodeId id) const {
    for (const uint64_t bit : bits_of(id))
      if ((words_[bit / 64] >> (bit % 64) & 1) == 0) return false;
    return true;
  }

 private:
  static constexpr uint64_t kBits = 1 << 23;
  static std::array<uint64_t, 2> bits_of(NodeId id) {
    const uint64_t hash = mix64(id.value);
    return {hash % kBits, (hash >> 32) % kBits};
  }
  std::vector<uint64_t> words_ = std::vector<uint64_t>(kBits / 64);
};

}  // namespace

struct Trimmer::Name {
  NodeId parent;
  std::string name;
  NodeId node;
};

struct Trimmer::Inode {
  uint64_t source_inode;
  NodeId node;
};

struct Trimmer::Pass {
  bool is_pressed = false;
  Nanos forget_after{0};
  std::optional<journal::Address> parents_from = journal::Address{};  // nullopt: all are noted
  IdFilter parents;
  IdFilter directories;                                               // that are remembered
  std::optional<journal::Address> records_from = journal::Address{};  // nullopt: all were read
  // To be looked at once more, and forgotten.
  std::deque<NodeId> nodes;
  std::deque<Name> names;
  std::deque<Inode> inodes;
};

Trimmer::Trimmer(catalog::Catalog& catalog, Activity& activity, IfAbsent if_absent,
                 Nanos forget_after, Registry& registry, const Clock& clock)
    : catalog_(catalog),
      if_absent_(std::move(if_absent)),
      forget_after_(forget_after),
      clock_(clock),
      activity_(activity),
      schedule_(catalog, "trim", kPeriod, activity, clock),
      nodes_(registry.counter("larder_trimmed_nodes_total",
                              "Files and directories forgotten, unused for long.")),
      names_(registry.counter("larder_trimmed_names_total",
                              "Names forgotten with their directories.")) {}

Trimmer::~Trimmer() = default;

NextStep Trimmer::step() {
  if (!pass_ && !begin_pass()) {
    const NextStep next = forget_after_ == Nanos(0) ? kWhenPoked : schedule_.ask_again();
    // The mount's return to use pokes.
    if (catalog_.has_room() || !activity_.lately()) return next;
    return next ? std::min(*next, next_pressed_) : next_pressed_;
  }
  if (!schedule_.may_run()) return schedule_.ask_again();
  const Result<bool> goes_on = advance(*pass_);
  if (!goes_on || !*goes_on) {
    end(goes_on ? Result<void>() : fail(goes_on.error()));
    return kAtOnce;  // to see when the next is due
  }
  return clock_.monotonic() + kPause;
}

bool Trimmer::begin_pass() {
  const bool is_pressed = !catalog_.has_room();
  if (is_pressed && clock_.monotonic() >= next_pressed_)
    schedule_.make_urgent();
  else if (forget_after_ == Nanos(0))
    return false;
  if (!schedule_.may_run()) return false;
  schedule_.begin();
  pass_ = std::make_unique<Pass>();
  pass_->is_pressed = is_pressed;
  pass_->forget_after = forget_after_;
  if (!is_pressed) return true;
  const bool is_well_above = catalog_.live_bytes() / 5 >= catalog_.limit_bytes() / 4;
  pass_->forget_after = is_well_above ? Nanos(0) : kPressedForgetAfter;
  return true;
}

Result<bool> Trimmer::advance(Pass& pass) {
  if (pass.parents_from) {
    TRY(note_parents(pass));
    return true;
  }
  if (pass.nodes.empty() && pass.names.empty() && pass.inodes.empty()) {
    if (!pass.records_from) return false;
    TRY(collect(pass));
    return true;
  }
  for (size_t i = 0; i < kRemovalsPerStep && !pass.nodes.empty(); ++i) {
    TRY(forget_unless_used(pass, pass.nodes.front()));
    pass.nodes.pop_front();
  }
  for (size_t i = 0; i < kRemovalsPerStep && !pass.names.empty(); ++i) {
    TRY(forget_name(pass, pass.names.front()));
    pass.names.pop_front();
  }
  for (size_t i = 0; i < kRemovalsPerStep && !pass.inodes.empty(); ++i) {
    TRY(forget_inode(pass.inodes.front()));
    pass.inodes.pop_front();
  }
  return true;
}

Result<void> Trimmer::note_parents(Pass& pass) {
  const catalog::RecordVisitor visitor{.node =
                                           [&pass](NodeId node, const catalog::NodeRecord& record) {
                                             pass.parents.add(record.parent);
                                             if (S_ISDIR(record.attributes.mode))
                                               pass.directories.add(node);
                                           },
                                       .name = {}};
  TRY_ASSIGN(pass.parents_from,
             catalog_.visit_records(*pass.parents_from, kRecordsPerStep, visitor));
  return {};
}

Result<void> Trimmer::collect(Pass& pass) {
  const catalog::RecordVisitor visitor{
      .node =
          [&](NodeId node, const catalog::NodeRecord& record) {
            if (node != kRootNode && is_unused(pass, record)) pass.nodes.push_back(node);
          },
      .name =
          [&](NodeId parent, std::string_view name, const catalog::NameRecord& record) {
            if (pass.is_pressed || !pass.directories.may_have(parent))
              pass.names.emplace_back(parent, std::string(name), record.node);
          },
      .inode = [&](uint64_t source_inode,
                   NodeId node) { pass.inodes.push_back({source_inode, node}); }};
  TRY_ASSIGN(pass.records_from,
             catalog_.visit_records(*pass.records_from, kRecordsPerStep, visitor));
  return {};
}

// Or not known to be used.
bool Trimmer::is_unused(const Pass& pass, const catalog::NodeRecord& record) const {
  if (record.object) return false;
  const int64_t used_at_ns = std::max(record.used_at_ns, record.validated_at_ns);
  return clock_.wall().count() - used_at_ns >= pass.forget_after.count();
}

Result<void> Trimmer::forget_unless_used(const Pass& pass, NodeId node) {
  Result<void> forgotten;
  if_absent_(node, [&] { forgotten = forget(pass, node); });
  return forgotten;
}

Result<void> Trimmer::forget(const Pass& pass, NodeId node) {
  TRY_ASSIGN(auto record, catalog_.node(node));
  if (!record || !is_unused(pass, *record)) return {};
  catalog::Batch batch;
  if (!pass.is_pressed && record->used_at_ns == 0 && record->validated_at_ns == 0) {
    record->used_at_ns = clock_.wall().count();
    batch.put(node, *record);
    return catalog_.apply(batch);
  }
  if (S_ISDIR(record->attributes.mode) && pass.parents.may_have(node)) return {};
  batch.remove(node);
  if (pass.is_pressed && record->parent) {
    TRY_ASSIGN(const auto name, catalog_.name(record->parent, record->name));
    if (name && name->node == node) batch.remove(record->parent, record->name);
  }
  for (uint32_t part = 0; part < record->listing_parts; ++part)
    batch.remove_listing_part(node, part);
  if (record->attributes.inode != 0) {
    TRY_ASSIGN(const auto by_inode, catalog_.by_inode(record->attributes.inode));
    if (by_inode == node) batch.remove_inode(record->attributes.inode);
  }
  TRY(catalog_.apply(batch));
  nodes_.add();
  return {};
}

Result<void> Trimmer::forget_name(const Pass& pass, const Name& name) {
  // Of a directory that is forgotten; when pressed, of a node that is not remembered.
  const NodeId gone = pass.directories.may_have(name.parent) ? name.node : name.parent;
  Result<void> forgotten;
  if_absent_(gone, [&] {
    const auto remembered = catalog_.node(gone);
    if (!remembered || *remembered) return;
    const auto now = catalog_.name(name.parent, name.name);
    if (!now || !*now || (*now)->node != name.node) return;
    catalog::Batch batch;
    batch.remove(name.parent, name.name);
    forgotten = catalog_.apply(batch);
    if (forgotten) names_.add();
  });
  return forgotten;
}

// Of a node that was never recorded, as there was no room, or is deleted.
Result<void> Trimmer::forget_inode(const Inode& inode) {
  Result<void> forgotten;
  if_absent_(inode.node, [&] {
    const auto remembered = catalog_.node(inode.node);
    if (!remembered || *remembered) return;
    const auto now = catalog_.by_inode(inode.source_inode);
    if (!now || *now != inode.node) return;
    catalog::Batch batch;
    batch.remove_inode(inode.source_inode);
    forgotten = catalog_.apply(batch);
  });
  return forgotten;
}

void Trimmer::end(const Result<void>& result) {
  if (pass_->is_pressed) next_pressed_ = clock_.monotonic() + kPressedPeriod;
  pass_.reset();
  if (!result) log::warning("cannot trim the catalog: {}", result.error().message());
  catalog::Batch batch;
  schedule_.remember_end(batch);
  if (const auto stored = catalog_.apply(batch); !stored)
    log::warning("cannot remember that the catalog was trimmed: {}", stored.error().message());
  schedule_.end();
}

}  // namespace larder::cache
