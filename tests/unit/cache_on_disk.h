// A small cache directory with known content, to be damaged by tests.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "app/cache_directory.h"
#include "cache_content.h"
#include "io/posix_disk.h"

namespace larder::app {

class CacheOnDisk : public CacheContent {
 public:
  CacheOnDisk() {
    std::string pattern = std::filesystem::temp_directory_path() / "larder-check-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) return;
    home_ = pattern;
    std::filesystem::create_directory(path());
    write("SOURCE", "larder cache 1\n/far\n");
    write("lock", "");
    open();
    fill();
  }
  ~CacheOnDisk() {
    close_store();
    std::filesystem::remove_all(home_);
  }
  CacheOnDisk(const CacheOnDisk&) = delete;
  CacheOnDisk& operator=(const CacheOnDisk&) = delete;

  std::string path() const { return home_ + "/cache"; }
  std::string at(const std::string& name) const { return path() + "/" + name; }
  std::string object_file(ObjectId object) const { return at(object::Objects::path(object)); }

  void open(uint64_t segment_bytes = 64 << 10) {
    disk_ = io::open_posix_disk(path()).value();
    journal::StoreOptions options;
    options.segment_bytes = segment_bytes;
    CacheContent::open(*disk_, options);
  }

  // While it is closed: files as bytes.
  std::string read(const std::string& name) const {
    std::stringstream text;
    text << std::ifstream(at(name), std::ios::binary).rdbuf();
    return text.str();
  }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(at(name), std::ios::binary) << bytes;
  }
  void flip(const std::string& name, size_t offset) const {
    std::string bytes = read(name);
    ASSERT_LT(offset, bytes.size());
    bytes[offset] = static_cast<char>(bytes[offset] ^ 0x10);
    write(name, bytes);
  }
  std::string newest(const std::string& prefix) const {
    std::string found;
    for (const auto& entry : std::filesystem::directory_iterator(at("journal"))) {
      const std::string name = entry.path().filename();
      if (name.starts_with(prefix)) found = std::max(found, "journal/" + name);
    }
    return found;
  }
  // All files and directories; walking over them may count as an access to directories.
  std::vector<std::string> names() const {
    std::vector<std::string> all{path()};
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path()))
      all.push_back(entry.path());
    std::ranges::sort(all);
    return all;
  }
  // Their kinds, sizes and times, also of access.
  static std::vector<std::string> states(const std::vector<std::string>& names) {
    std::vector<std::string> all;
    for (const std::string& name : names) {
      struct stat st{};
      EXPECT_EQ(lstat(name.c_str(), &st), 0) << name;
      const auto text = [](timespec time) {
        return " " + std::to_string(time.tv_sec) + "." + std::to_string(time.tv_nsec);
      };
      all.push_back(name + " " + std::to_string(st.st_mode) + " " + std::to_string(st.st_size) +
                    text(st.st_atim) + text(st.st_mtim) + text(st.st_ctim));
    }
    return all;
  }
  // A hash of all files' bytes; an access to them.
  static uint64_t bytes_hash(const std::vector<std::string>& names) {
    uint64_t hash = 0;
    for (const std::string& name : names) {
      std::stringstream text;
      if (std::filesystem::is_regular_file(name))
        text << std::ifstream(name, std::ios::binary).rdbuf();
      hash = hash64(text.str(), hash);
    }
    return hash;
  }

 private:
  std::string home_;
  std::unique_ptr<io::Disk> disk_;
};

}  // namespace larder::app
