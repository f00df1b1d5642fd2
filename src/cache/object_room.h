// ObjectRoom: what an object takes on the disk, counted until nobody has it open.
//
// A file that is removed keeps its room until it is closed, by larder and by the kernel (which
// reads it in passthrough).  Whoever has the object open shares this with those who removed it:
// when the last of them lets go, the room is given back.  A mapping may outlive its descriptor:
// MappedObjects holds on for it.
//
// Thread-safe as std::shared_ptr is; removed() is called once, under the lock of the file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "cache/residents.h"
#include "io/disk.h"

namespace larder::cache {

class ObjectRoom {
 public:
  explicit ObjectRoom(Residents& residents) : residents_(residents) {}
  ~ObjectRoom() {
    if (bytes_ && !is_left_) residents_.give_back(*bytes_);
  }
  ObjectRoom(const ObjectRoom&) = delete;
  ObjectRoom& operator=(const ObjectRoom&) = delete;

  // Of an object that no file has.
  static std::shared_ptr<ObjectRoom> of_orphan(Residents& residents, uint64_t bytes) {
    auto room = std::make_shared<ObjectRoom>(residents);
    residents.adopt_orphan(bytes);
    room->removed(bytes);
    return room;
  }

  // The object is about to be removed; `let_go_bytes` is what Residents::let_go() has said.
  void removed(std::optional<uint64_t> let_go_bytes) { bytes_ = let_go_bytes; }
  // Who reads the removed object gets more of it; after removed(), one at a time.
  void grown(uint64_t bytes) {
    if (!bytes_) return;
    residents_.adopt_growth(bytes);
    *bytes_ += bytes;
  }
  // It could not be, or nobody will know when it is gone: its room is taken as long as this mount
  // lasts.  After removed(), by who holds this still; one at a time.
  void leave() { is_left_ = true; }

  // `file`, which holds the room until it is closed.
  static std::shared_ptr<io::File> hold(std::shared_ptr<ObjectRoom> room,
                                        std::shared_ptr<io::File> file) {
    struct Held {
      std::shared_ptr<ObjectRoom> room;
      std::shared_ptr<io::File> file;  // closed first
    };
    io::File* const itself = file.get();
    return {std::make_shared<Held>(std::move(room), std::move(file)), itself};
  }

 private:
  Residents& residents_;
  std::optional<uint64_t> bytes_;
  bool is_left_ = false;
};

}  // namespace larder::cache
