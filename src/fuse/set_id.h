// Set-id bits that a change costs the file.
//
// Where the kernel can leave them to us (FUSE_HANDLE_KILLPRIV_V2, Linux 5.11) it is let, by root:
// it then need not ask before each write(2) for the file's security.capability, which would be two
// more calls of the source.  Otherwise it clears them itself, by a SETATTR before the change, but
// not all: set-group-id without execute permission for the group never (6.18), and none at all when
// a file is emptied by O_TRUNC, which is ours to carry out (FUSE_CAP_ATOMIC_O_TRUNC).  The source's
// file system clears security.capability, but not the bits where it is asked with root's rights.
// The kernel says with each change that bits go, but libfuse does not pass that on, and it does not
// say whether the one that is for the file's group to keep goes; so who changes the file is looked
// at here.
#pragma once

#include "fs/file_system.h"
#include "fuse/adapter.h"
#include "fuse/libfuse.h"

namespace larder::fuse {

// Whether larder has the right to take them from everybody's files.  Where it has not, the source's
// file system treats what it does as done by a user, and the kernel looks after what it shows.
bool takes_set_id();

// The caller with all his groups, from his /proc as far as it can be seen; without it he is in the
// one group.
Credentials credentials_of(fuse_req_t request);

// The bits that go when the caller changes this file: none for root with CAP_FSETID, nor for the
// file systems of users, whose source does it.  Quick where the file has none.
uint32_t lost_set_id(fuse_req_t request, Adapter& adapter, fs::KernelId id);

// The same for a SETATTR that sets nothing.  It comes of chown(2) with no owner and no group, which
// takes bits away also for root; or before a change, of anybody who may write, as a question for
// the mode.  Who is not the owner is taken to ask: he may not call chown(2).
uint32_t lost_by_setting_nothing(fuse_req_t request, Adapter& adapter, fs::KernelId id);

// As part of a change of attributes.
void take_set_id(fs::AttributeChange& change, uint32_t bits);

template <class T>
io::Task<Result<T>> take_set_id_first(Adapter* adapter, fs::KernelId id, uint64_t handle,
                                      uint32_t bits, io::Task<Result<T>> change) {
  fs::AttributeChange taking;
  take_set_id(taking, bits);
  io::Task<Result<fs::AttributesReply>> task = adapter->files.set_attributes(id, taking, handle);
  CO_TRY(co_await std::move(task));
  co_return co_await std::move(change);
}

// `change` after the bits are gone.  handle: it is changed through, 0: by its name; the bits are
// taken from the same file, whatever has its name at the source by now.
template <class T>
io::Task<Result<T>> without_set_id(Adapter& adapter, fs::KernelId id, uint64_t handle,
                                   uint32_t bits, io::Task<Result<T>> change) {
  if (bits == 0) return change;
  return take_set_id_first(&adapter, id, handle, bits, std::move(change));
}

}  // namespace larder::fuse
