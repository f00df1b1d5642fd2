// A directory for larder to mount, of a kind of file system that a test asks for, for as long as
// this lives:
//
//   disk    a directory on the local disk: inode numbers that stay, exact times
//   tmpfs   a file system in memory: what larder takes for one without stable inode numbers
//   sshfs   a FUSE file system over an SFTP server without sshd: numbers that FUSE makes up, times
//           in whole seconds, and a server that others reach past it
//   mergerfs  a FUSE file system over two directories, which shows of one that is in both the times
//           of the first; others reach the second
//
//   auto source = make_source_directory(SourceKind::kSshfs);
//   ASSERT_TRUE(source->ready()) << source->problem();
//   LarderMount mount(source->directory(), {"attr_ttl=100ms"});
//   write_file(source->behind() + "/a", "x");    // another client of the server
//
// The destructor unmounts and removes what was made, also when requests hang.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

namespace larder::testing_support {

enum class SourceKind { kDisk, kTmpfs, kSshfs, kMergerfs };
const char* name_of(SourceKind kind);

// Not thread-safe.  The thread that makes one must outlive it.
class SourceDirectory {
 public:
  virtual ~SourceDirectory();
  SourceDirectory(const SourceDirectory&) = delete;
  SourceDirectory& operator=(const SourceDirectory&) = delete;

  bool ready() const { return problem_.empty(); }
  const std::string& problem() const { return problem_; }
  // What is to be mounted.
  const std::string& directory() const { return directory_; }
  // The same files for others: what happens here is a change from outside, of which the file system
  // that larder reads need not hear.
  const std::string& behind() const { return behind_; }

 protected:
  SourceDirectory();

  std::string home_;  // holds all that is made
  std::string directory_;
  std::string behind_;
  std::string problem_;
};

class DiskDirectory : public SourceDirectory {
 public:
  DiskDirectory();
};

class TmpfsDirectory : public SourceDirectory {
 public:
  // Empty, or why there can be none here: the reason to give to GTEST_SKIP.
  static std::string why_unavailable();
  // `size`: what it holds, as mount(8) takes it.
  explicit TmpfsDirectory(const std::string& size = "1G");
  ~TmpfsDirectory() override;
};

// A FUSE file system in a process of its own.
class FuseDirectory : public SourceDirectory {
 public:
  ~FuseDirectory() override;
  // What it has said so far.
  std::string log() const;

 protected:
  FuseDirectory() = default;
  // Runs it in the foreground and waits until it is mounted.
  void start(const std::vector<std::string>& words);

 private:
  pid_t child_ = -1;
};

class SshfsDirectory : public FuseDirectory {
 public:
  static std::string why_unavailable();
  // sshfs remembers nothing: what it shows is what the server has.
  static const std::vector<std::string>& no_memory();

  // `server`: the directory to serve, which stays; empty: one of its own.  `options`: as for -o.
  explicit SshfsDirectory(const std::string& server = {},
                          const std::vector<std::string>& options = no_memory());
};

// It remembers nothing, either.
class MergerfsDirectory : public FuseDirectory {
 public:
  static std::string why_unavailable();
  MergerfsDirectory();
  // The directory that comes before behind().
  std::string first() const { return home_ + "/first"; }
};

// Empty, or why a test cannot have this kind here.
std::string why_unavailable(SourceKind kind);
std::unique_ptr<SourceDirectory> make_source_directory(SourceKind kind);

}  // namespace larder::testing_support
