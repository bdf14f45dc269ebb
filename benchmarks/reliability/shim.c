/* A file system and a clock with faults, for processes that load this library first (LD_PRELOAD); see shim.py.

   FAULTS_UNDER   the folder that is meant; paths outside are left alone
   FAULTS_CALL    open (to write), mkdir, write, fsync, rename or read (open to read): which call fails,
   FAULTS_MATCH   where the path has this text,
   FAULTS_ERRNO   with this error,
   FAULTS_AFTER   after so many such calls of the process went well,
   FAULTS_TIMES   so many times (-1: from then on)
   FAULTS_HIT     a file that is made when a call has failed
   FAULTS_LATE    seconds for which what others created cannot be seen; FAULTS_OWN is the folder that notes what is ours
   FAULTS_CLOCK   seconds that the clock is ahead
   FAULTS_STAMP   seconds that times of files written here are ahead, as on a server that takes them from its clients */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REAL(type, name, ...)                                  \
    static type (*real)(__VA_ARGS__);                          \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

/* The path of a file relative to a folder's descriptor, whole. */
static const char *whole(int folder, const char *path, char *buffer) {
    char link[64], base[PATH_MAX];
    if (path[0] == '/') return path;
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return path;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return path;
        base[length] = 0;
    }
    snprintf(buffer, PATH_MAX, "%s/%s", base, path);
    return buffer;
}

static const char *path_of(int file, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    buffer[length < 0 ? 0 : length] = 0;
    return buffer;
}

static int under(const char *path) {
    const char *folder = getenv("FAULTS_UNDER");
    return folder && !strncmp(path, folder, strlen(folder));
}

/* Whether this call is to fail; sets errno. */
static int fails(const char *call, const char *path) {
    static long passed, failed;
    const char *wanted = getenv("FAULTS_CALL"), *match = getenv("FAULTS_MATCH"), *hit = getenv("FAULTS_HIT");
    if (!wanted || strcmp(wanted, call) || !under(path) || (match && !strstr(path, match))) return 0;
    if (passed++ < number("FAULTS_AFTER")) return 0;
    if (number("FAULTS_TIMES") >= 0 && failed >= number("FAULTS_TIMES")) return 0;
    failed++;
    if (hit) close(syscall(SYS_openat, AT_FDCWD, hit, O_CREAT | O_WRONLY, 0644));
    errno = (int)number("FAULTS_ERRNO");
    return 1;
}

static int seen(int folder, const char *path, int flags, struct statx *about) {
    return !syscall(SYS_statx, folder, path, flags, STATX_INO | STATX_BTIME, about);
}

static void note_path(const struct statx *about, char *buffer) {
    snprintf(buffer, PATH_MAX, "%s/%x-%x-%llx", getenv("FAULTS_OWN"), about->stx_dev_major, about->stx_dev_minor,
             (unsigned long long)about->stx_ino);
}

/* What this client made is seen by it at once, and what the server has told it is there already; keeps errno. */
static void own(int folder, const char *path) {
    struct statx about;
    char note[PATH_MAX];
    int error = errno;
    if (number("FAULTS_LATE") && seen(folder, path, 0, &about)) {
        note_path(&about, note);
        close(syscall(SYS_openat, AT_FDCWD, note, O_CREAT | O_WRONLY, 0644));
    }
    errno = error;
}

/* Whether a file is too new to be seen here; sets errno. */
static int hidden(int folder, const char *path) {
    struct statx about;
    struct timespec now;
    char buffer[PATH_MAX], note[PATH_MAX];
    if (!number("FAULTS_LATE") || !under(whole(folder, path, buffer)) || !seen(folder, path, 0, &about)) return 0;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    if (now.tv_sec - about.stx_btime.tv_sec >= number("FAULTS_LATE")) return 0;
    note_path(&about, note);
    if (!syscall(SYS_faccessat, AT_FDCWD, note, F_OK)) return 0;
    errno = ENOENT;
    return 1;
}

static void stamp(int file, const char *path) {
    struct timespec times[2];
    if (!number("FAULTS_STAMP")) return;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &times[0]);
    times[0].tv_sec += number("FAULTS_STAMP");
    times[1] = times[0];
    syscall(SYS_utimensat, path ? AT_FDCWD : file, path, times, 0);
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    const char *all = whole(folder, path, buffer);
    int writes = (flags & O_ACCMODE) != O_RDONLY, file;
    if (!under(all)) return (int)syscall(SYS_openat, folder, path, flags, mode);
    if (fails(writes ? "open" : "read", all)) return -1;
    if (!(flags & O_CREAT) && hidden(folder, path)) return -1;
    file = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (flags & O_CREAT && (file >= 0 || errno == EEXIST)) own(folder, path);
    if (file >= 0 && flags & O_CREAT) stamp(file, NULL);
    return file;
}

static mode_t mode_in(int flags, va_list more) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; }

#define OPEN(name)                                        \
    int name(const char *path, int flags, ...) {          \
        va_list more;                                     \
        va_start(more, flags);                            \
        mode_t mode = mode_in(flags, more);               \
        va_end(more);                                     \
        return opened(AT_FDCWD, path, flags, mode);       \
    }
#define OPENAT(name)                                             \
    int name(int folder, const char *path, int flags, ...) {     \
        va_list more;                                            \
        va_start(more, flags);                                   \
        mode_t mode = mode_in(flags, more);                      \
        va_end(more);                                            \
        return opened(folder, path, flags, mode);                \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int mkdir(const char *path, mode_t mode) {
    char buffer[PATH_MAX];
    REAL(int, "mkdir", const char *, mode_t);
    if (fails("mkdir", whole(AT_FDCWD, path, buffer))) return -1;
    int result = real(path, mode);
    if (under(whole(AT_FDCWD, path, buffer)) && (!result || errno == EEXIST)) own(AT_FDCWD, path);
    return result;
}

ssize_t write(int file, const void *content, size_t length) {
    char path[PATH_MAX];
    REAL(ssize_t, "write", int, const void *, size_t);
    if (file > 2 && getenv("FAULTS_UNDER") && under(path_of(file, path))) {
        if (fails("write", path)) return -1;
        ssize_t result = real(file, content, length);
        stamp(file, NULL);
        return result;
    }
    return real(file, content, length);
}

int fsync(int file) {
    char path[PATH_MAX];
    REAL(int, "fsync", int);
    return fails("fsync", path_of(file, path)) ? -1 : real(file);
}

int rename(const char *from, const char *to) {
    char buffer[PATH_MAX];
    REAL(int, "rename", const char *, const char *);
    return fails("rename", whole(AT_FDCWD, to, buffer)) ? -1 : real(from, to);
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
    char buffer[PATH_MAX];
    REAL(int, "utimensat", int, const char *, const struct timespec *, int);
    int result = real(folder, path, times, flags);
    if (!result && !times && under(whole(folder, path, buffer))) stamp(-1, whole(folder, path, buffer));
    return result;
}

int stat(const char *path, struct stat *about) {
    REAL(int, "stat", const char *, struct stat *);
    return hidden(AT_FDCWD, path) ? -1 : real(path, about);
}

int stat64(const char *path, struct stat64 *about) {
    REAL(int, "stat64", const char *, struct stat64 *);
    return hidden(AT_FDCWD, path) ? -1 : real(path, about);
}

int fstatat(int folder, const char *path, struct stat *about, int flags) {
    REAL(int, "fstatat", int, const char *, struct stat *, int);
    return path[0] && hidden(folder, path) ? -1 : real(folder, path, about, flags);
}

int fstatat64(int folder, const char *path, struct stat64 *about, int flags) {
    REAL(int, "fstatat64", int, const char *, struct stat64 *, int);
    return path[0] && hidden(folder, path) ? -1 : real(folder, path, about, flags);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int result = real(clock, now);
    if (!result && clock == CLOCK_REALTIME) now->tv_sec += number("FAULTS_CLOCK");
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    REAL(int, "gettimeofday", struct timeval *, void *);
    int result = real(now, zone);
    if (!result) now->tv_sec += number("FAULTS_CLOCK");
    return result;
}

time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}
