// The control protocol of a larder mount, version 1: for programs that watch or steer one.
//
// MOUNTPOINT/.larder/ (the name is set by control_dir=) is hidden from listings; only the mount's
// owner and root may open what is in it:
//
//   status      text for people; no stable format
//   stats.json  one JSON object, see below
//   metrics     Prometheus text exposition format 0.0.4
//   config      the effective configuration as an INI file, each value followed by "; origin"
//   control     commands, see below
//
// Commands.  Open `control` for reading and writing, write one or more whole lines (at most
// kControlWriteMax bytes in one write), then read on the same descriptor until a read gives 0
// bytes; a read takes the reply's next part whatever its offset.  The reply has one line for each
// command line, in order:
//
//   ok [TEXT]             done
//   error CODE MESSAGE    CODE is a name of errno ("ENOENT") or a word of larder's own
//   ("timed-out")
//
// Words of a command are separated by spaces.  A word is percent-encoded: "%XX" stands for any
// byte; space,
// "%", and bytes below 0x21 must be encoded, others may be.
//
//   help                      ok COMMAND...
//   warm-begin                ok JOB
//       The job belongs to the open control file: when that is closed, or its program ends, what is
//       left of the job is dropped and the job is forgotten.
//   warm-add JOB [r] PATH     ok N accepted | ok busy N
//       PATH is relative to the mount's root, "." is the root; with `r` a directory is loaded with
//       all that is beneath it.  N is how many of this line's paths were taken (1 or 0).  "busy":
//       the queue is full, send the line again later.
//   warm-end JOB              ok          no further paths will come
//   warm-status JOB           ok JSON     see WarmStatus below; answers also after the job is done
//   record-begin opens|blocks ok RECORDING
//       Begins to record accesses: of whole files at their opening, or of the blocks of files that
//       the daemon reads for the kernel.  EBUSY: another recording is under way.  It ends by itself
//       when nothing was read from it for 10 s.
//   record-read RECORDING     ok STATE DROPPED [KEY SIZE TIME PATH]...
//       The oldest accesses not read yet, some hundreds at most; to be read again and again.
//       STATE: "more" there are more now, "idle" not now, "end" never: the recording is gone.
//       DROPPED counts, since the beginning, what there was no room for: it keeps 65536 accesses.
//       KEY is the file's number, of a block NUMBER:BLOCK; SIZE is in bytes, of a file rounded up
//       to what it takes in the cache; TIME is in seconds since 1970 and never goes back.  PATH is
//       a word as above, beneath the mount's root, or "-": no name is known now (one that is "-" is
//       "%2D").  ENOENT: there is no such recording, or it ended by itself.
//   record-end RECORDING [drop]   ok
//       Nothing further is recorded; what is left can still be read, without `drop`.
//   audit                     ok REQUEST
//       Looks through the cache directory now: removes objects that nothing names and unfinished
//       files, and measures what the rest takes.  It does so in the background.
//   audit-status              ok REQUEST JSON
//       REQUEST is the highest one that has been carried out (0: none); see AuditStatus below.
//   scrub, scrub-status       the same for verifying all that is cached; see ScrubStatus below
//
// stats.json.  Times are numbers with their unit in the name, sizes are bytes.
//
//   schema       kStatsSchema; grows when a field changes its meaning or goes
//   version pid source mountpoint cache_dir control_dir uptime_s engine passthrough
//   metrics: { GROUP: { FIELD: number } }
//       one group for each first word of a metric's name after "larder_", one field for the rest of
//       the name without "_total": larder_read_hits_total is metrics.read.hits.  A metric with
//       labels is an object from the labels' values (joined with ",") to numbers.  A group with
//       `hits` and `misses` also has hit_ratio (0..1, or null before the first).  A name of one
//       word stands in the group "other".
//   latency: { NAME: { count, mean_ns, p50_ns, p95_ns, p99_ns } }
//       NAME is the histogram's whole name without "larder_" and its unit; labels as above.
//
// WarmStatus: files_total files_done files_missing files_failed bytes_done bytes_total (numbers),
// done (true when the list was ended and everything on it is done), errors and missing (the first
// few of each, as strings; of a missing one its path).  The bytes are those of the files begun so
// far, and of these what has come.
//
// AuditStatus, of the last whole pass: passes (in this run), orphans (objects that nothing named),
// strays (unfinished and foreign files), removed (of both), settled (objects whose size was
// accounted wrongly), objects (files), object_bytes journal_bytes metadata_bytes (on the disk),
// measured_bytes (their sum), accounted_bytes (what size= is held against), error (why the last
// pass broke off, or "").
//
// ScrubStatus, of this run: passes, blocks bytes (verified), bad_blocks (dropped).
#pragma once

namespace larder::control {

inline constexpr int kControlVersion = 1;
inline constexpr int kStatsSchema = 1;
inline constexpr int kControlWriteMax = 128 * 1024;

inline constexpr char kStatusFile[] = "status";
inline constexpr char kStatsFile[] = "stats.json";
inline constexpr char kMetricsFile[] = "metrics";
inline constexpr char kConfigFile[] = "config";
inline constexpr char kControlFile[] = "control";

}  // namespace larder::control
