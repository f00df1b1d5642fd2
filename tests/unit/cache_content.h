// What the tests of check and repair put into a cache directory, made with larder's own parts: the
// root with the directory "d" with the files "one" and "two", all of whose blocks are cached.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "catalog/catalog.h"
#include "journal/store.h"
#include "object/objects.h"

namespace larder::app {

class CacheContent {
 public:
  static constexpr uint8_t kBlockShift = 12;
  static constexpr size_t kBlockBytes = 1 << kBlockShift;

  struct File {
    NodeId node;
    ObjectId object;
    std::string data;
  };
  const File& one() const { return one_; }
  const File& two() const { return two_; }
  NodeId directory() const { return directory_; }

  // While the store is open: changes of its records.
  void open(io::Disk& disk, const journal::StoreOptions& options) {
    store_ = must(journal::Store::open(disk, "journal", options, registry_, clock_));
    catalog_ = must(catalog::Catalog::open(*store_));
    objects_ = must(object::Objects::open(disk));
  }
  void fill() {
    root_ = add_directory({}, "");
    directory_ = add_directory(root_, "d");
    one_ = add_file("one", kBlockBytes * 3 + 100);
    two_ = add_file("two", kBlockBytes, Claims::kInARecordOfTheirOwn);
    add_listing();
    commit();
  }
  catalog::Catalog& catalog() { return *catalog_; }
  object::Objects& objects() { return *objects_; }
  journal::Store& store() { return *store_; }
  void apply(const catalog::Batch& batch) { EXPECT_TRUE(catalog_->apply(batch)); }
  void apply(const std::string& key, std::optional<std::string> value) {
    const journal::Change change{key, std::move(value)};
    EXPECT_TRUE(store_->apply({&change, 1}));
  }
  void commit() { EXPECT_TRUE(store_->commit()); }
  // As a clean stop, and as a kill, leave it.
  void close_cleanly() {
    EXPECT_TRUE(store_->close());
    close_store();
  }
  void close_store() {
    catalog_.reset();
    objects_.reset();
    store_.reset();
  }

  catalog::NodeRecord node(NodeId id) {
    const auto record = catalog_->node(id);
    EXPECT_TRUE(record && *record);
    return record && *record ? **record : catalog::NodeRecord{};
  }
  NodeId add_directory(NodeId parent, const std::string& name) {
    const NodeId id = parent ? must(catalog_->allocate_node()) : kRootNode;
    catalog::NodeRecord record;
    record.attributes.mode = S_IFDIR | 0755;
    record.parent = parent;
    record.name = name;
    put_node(id, record);
    return id;
  }
  // Of the first chunk; older larders put them into a record of their own.
  enum class Claims { kInTheNodesRecord, kInARecordOfTheirOwn };
  File add_file(const std::string& name, size_t size_bytes,
                Claims claims = Claims::kInTheNodesRecord) {
    File file;
    file.node = must(catalog_->allocate_node());
    file.object = must(catalog_->allocate_object());
    for (size_t i = 0; i < size_bytes; ++i)
      file.data += static_cast<char>('a' + (i * 7 + i / kBlockBytes + file.node.value) % 26);
    const auto object = must(objects_->create(file.object, size_bytes));
    EXPECT_TRUE(object->write_at(std::as_bytes(std::span(file.data)), 0));
    EXPECT_TRUE(object->sync_data());
    catalog::NodeRecord record;
    record.attributes.mode = S_IFREG | 0644;
    record.attributes.size_bytes = size_bytes;
    record.parent = directory_;
    record.name = name;
    record.object = file.object;
    record.version.size_bytes = size_bytes;
    record.block_shift = kBlockShift;
    record.data_stable = true;
    record.object_bytes = (size_bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    if (claims == Claims::kInTheNodesRecord) record.first_chunk = claims_of(file.data);
    put_node(file.node, record);
    catalog::Batch batch;
    if (!record.first_chunk) batch.put(file.object, 0, claims_of(file.data));
    apply(batch);
    return file;
  }
  static catalog::ChunkRecord claims_of(std::string_view data) {
    catalog::ChunkRecord record;
    for (size_t at = 0; at < data.size(); at += kBlockBytes) {
      record.present |= uint64_t{1} << (at / kBlockBytes);
      const std::string_view block = data.substr(at, kBlockBytes);
      record.checksums.push_back(checksum32(std::as_bytes(std::span(block))));
    }
    return record;
  }

 private:
  template <class T>
  static T must(Result<T> result) {
    EXPECT_TRUE(result) << result.error().message();
    return result ? std::move(*result) : T{};
  }
  void put_node(NodeId id, const catalog::NodeRecord& record) {
    catalog::Batch batch;
    batch.put(id, record);
    if (record.parent) batch.put(record.parent, record.name, {id, record.attributes.mode & S_IFMT});
    apply(batch);
  }
  void add_listing() {
    catalog::NodeRecord record = node(directory_);
    catalog::Batch batch;
    record.listing_parts =
        batch.put_listing(directory_, {{"one", one_.node, S_IFREG}, {"two", two_.node, S_IFREG}});
    batch.put(directory_, record);
    apply(batch);
  }

  Registry registry_;
  ManualClock clock_;
  std::unique_ptr<journal::Store> store_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<object::Objects> objects_;
  NodeId root_;
  NodeId directory_;
  File one_;
  File two_;
};

}  // namespace larder::app
