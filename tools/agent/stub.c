/* The one-file agent: unpacks what is appended to it into a directory named by its digest, and runs from there.
 *
 * A file is: this program, the archive compressed by zlib, and a tail:
 *     u64 offset of the compressed archive    u64 its length    u64 bytes when unpacked    32 digest (hex)
 *     8 bytes magic                           (numbers are little-endian)
 * An archive is a run of entries, directories before what is in them:
 *     u32 mode (type and permission bits)    u32 length of the name    u64 size    name    content
 *
 * Where: $COCKPIT_UNPACK, else /var/lib/cockpit/bundle for root, else $XDG_CACHE_HOME or ~/.cache and /cockpit/bundle.
 * An unpacked directory is compared with the archive at every start, byte by byte; one that differs is replaced.
 * Processes that were started from it stay: what they still open is at the same place.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <dirent.h>
#include <zlib.h>

#ifndef PROGRAM
#define PROGRAM "bin/python3" /* below the directory */
#endif

#define MAGIC "COCKPIT1"
#define DIGEST 32
#define TAIL (8 * 3 + DIGEST + 8)
#define CANNOT 126 /* exit status: it could not be unpacked, or not be started */

static char self[PATH_MAX];
static char root[PATH_MAX];
static const char *half; /* a directory that is not complete yet: it goes when this fails */

static void erase(const char *path);

static void fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("cockpit-agent: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    if (half)
        erase(half);
    exit(CANNOT);
}

static char *join(const char *dir, const char *name)
{
    static char ring[8][PATH_MAX];
    static unsigned next;
    char *path = ring[next++ % 8];
    if (snprintf(path, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
        fail("%s is too long a place; name another one in COCKPIT_UNPACK", dir);
    return path;
}

/* Reading the archive */

struct archive {
    int fd;
    uint64_t left; /* compressed bytes not read yet */
    uint64_t offset, length, size;
    char digest[DIGEST + 1];
    z_stream z;
    unsigned char in[1 << 16];
};

static uint64_t number(const unsigned char *b, int n)
{
    uint64_t value = 0;
    while (n--)
        value = value << 8 | b[n];
    return value;
}

static void damaged(void)
{
    fail("%s is damaged or not whole; bring it here again", self);
}

static void locate(struct archive *a)
{
    unsigned char tail[TAIL];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0)
        self[n] = 0;
    else /* no /proc: what was executed */
        snprintf(self, sizeof self, "%s", (const char *)getauxval(AT_EXECFN));
    /* through /proc even when the file was deleted in the meantime */
    if ((a->fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC)) < 0 && (a->fd = open(self, O_RDONLY | O_CLOEXEC)) < 0)
        fail("%s cannot be read: %s", self, strerror(errno));
    off_t end = lseek(a->fd, 0, SEEK_END);
    if (end < TAIL || pread(a->fd, tail, TAIL, end - TAIL) != TAIL || memcmp(tail + TAIL - 8, MAGIC, 8))
        damaged();
    a->offset = number(tail, 8);
    a->length = number(tail + 8, 8);
    a->size = number(tail + 16, 8);
    memcpy(a->digest, tail + 24, DIGEST);
    if (strspn(a->digest, "0123456789abcdef") != DIGEST || a->offset > (uint64_t)end ||
        a->length != (uint64_t)end - TAIL - a->offset)
        damaged();
}

static void rewind_to(struct archive *a)
{
    memset(&a->z, 0, sizeof a->z);
    a->left = a->length;
    if (lseek(a->fd, (off_t)a->offset, SEEK_SET) < 0 || inflateInit(&a->z) != Z_OK)
        fail("no memory");
}

/* Up to `size` unpacked bytes; 0 at the end, which has been checked (adler32) by then. */
static size_t take(struct archive *a, void *into, size_t size)
{
    a->z.next_out = into;
    a->z.avail_out = (uInt)size;
    while (a->z.avail_out) {
        if (!a->z.avail_in && a->left) {
            ssize_t n = read(a->fd, a->in, a->left < sizeof a->in ? (size_t)a->left : sizeof a->in);
            if (n <= 0)
                damaged();
            a->left -= (uint64_t)n;
            a->z.next_in = a->in;
            a->z.avail_in = (uInt)n;
        }
        int code = inflate(&a->z, Z_NO_FLUSH);
        if (code == Z_STREAM_END)
            break;
        if (code != Z_OK)
            damaged();
    }
    return size - a->z.avail_out;
}

struct entry {
    mode_t mode;
    uint64_t size;
    char name[1024];
};

static int next(struct archive *a, struct entry *e)
{
    unsigned char head[16];
    size_t n = take(a, head, sizeof head);
    if (!n) {
        inflateEnd(&a->z);
        return 0;
    }
    uint64_t length = number(head + 4, 4);
    if (n != sizeof head || !length || length >= sizeof e->name)
        damaged();
    e->mode = (mode_t)number(head, 4);
    e->size = number(head + 8, 8);
    if (take(a, e->name, (size_t)length) != length)
        damaged();
    e->name[length] = 0;
    if (e->name[0] == '/' || strstr(e->name, ".."))
        damaged();
    return 1;
}

/* Comparing and writing */

static char chunk[1 << 16], other[1 << 16];

/* Is everything there, with these bytes, and nobody else's to change? The first difference in `what`. */
static int whole(struct archive *a, const char *dir, char *what, size_t room)
{
    struct entry e;
    struct stat s;
    int good = !lstat(dir, &s) && S_ISDIR(s.st_mode) && s.st_uid == geteuid() && !(s.st_mode & 022);
    snprintf(what, room, "the directory itself");
    rewind_to(a);
    while (good && next(a, &e)) {
        const char *path = join(dir, e.name);
        snprintf(what, room, "%.900s", e.name);
        good = !lstat(path, &s) && s.st_uid == geteuid() && (s.st_mode & S_IFMT) == (e.mode & S_IFMT) &&
               (s.st_mode & 07777) == (e.mode & 07777);
        if (!good || S_ISDIR(e.mode))
            continue;
        int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        good = fd >= 0 && (uint64_t)s.st_size == e.size;
        for (uint64_t left = e.size; good && left;) {
            size_t n = left < sizeof chunk ? (size_t)left : sizeof chunk, got = 0;
            if (take(a, chunk, n) != n)
                damaged();
            while (got < n) {
                ssize_t r = read(fd, other + got, n - got);
                if (r <= 0)
                    break;
                got += (size_t)r;
            }
            good = got == n && !memcmp(chunk, other, n);
            left -= n;
        }
        if (fd >= 0)
            close(fd);
    }
    if (!good)
        inflateEnd(&a->z);
    return good;
}

static void erase(const char *path)
{
    struct stat s;
    if (lstat(path, &s))
        return;
    if (S_ISDIR(s.st_mode)) {
        chmod(path, 0700);
        DIR *d = opendir(path);
        struct dirent *entry;
        while (d && (entry = readdir(d)))
            if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) {
                char below[PATH_MAX];
                if (snprintf(below, sizeof below, "%s/%s", path, entry->d_name) < (int)sizeof below)
                    erase(below);
            }
        if (d)
            closedir(d);
        rmdir(path);
    } else
        unlink(path);
}

static void stuck(struct archive *a, const char *doing, int number)
{
    unsigned long need = (unsigned long)(a->size >> 20) + 1;
    if (number == ENOSPC || number == EDQUOT)
        fail("the disk is full: unpacking into %s takes %lu MiB; free some, or name another place in COCKPIT_UNPACK",
             root, need);
    fail("%s in %s failed: %s; another place can be named in COCKPIT_UNPACK", doing, root, strerror(number));
}

static void put(struct archive *a, const char *dir)
{
    struct entry e;
    erase(dir); /* of one that was killed */
    half = dir;
    if (mkdir(dir, 0700))
        stuck(a, "making a directory", errno);
    rewind_to(a);
    while (next(a, &e)) {
        const char *path = join(dir, e.name);
        if (S_ISDIR(e.mode)) {
            if (mkdir(path, 0700) || chmod(path, e.mode & 07777))
                stuck(a, "making a directory", errno);
            continue;
        }
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
            stuck(a, "making a file", errno);
        for (uint64_t left = e.size; left;) {
            size_t n = left < sizeof chunk ? (size_t)left : sizeof chunk, done = 0;
            if (take(a, chunk, n) != n)
                damaged();
            while (done < n) {
                ssize_t w = write(fd, chunk + done, n - done);
                if (w <= 0)
                    stuck(a, "writing", w ? errno : ENOSPC);
                done += (size_t)w;
            }
            left -= n;
        }
        if (fchmod(fd, e.mode & 07777) || fsync(fd) || close(fd))
            stuck(a, "writing", errno);
    }
}

static void sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

/* Where */

static void make_root(void)
{
    const char *given = getenv("COCKPIT_UNPACK"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (given && *given)
        snprintf(root, sizeof root, "%s", given);
    else if (!geteuid())
        snprintf(root, sizeof root, "/var/lib/cockpit/bundle");
    else if (cache && *cache == '/')
        snprintf(root, sizeof root, "%s/cockpit/bundle", cache);
    else if (home && *home == '/')
        snprintf(root, sizeof root, "%s/.cache/cockpit/bundle", home);
    else
        fail("there is no HOME; name a directory to unpack into in COCKPIT_UNPACK");
    if (root[0] != '/')
        fail("COCKPIT_UNPACK must be an absolute path, not %s", root);
    for (char *p = root + 1;; p++) {
        if (*p && *p != '/')
            continue;
        char kept = *p;
        *p = 0;
        if (mkdir(root, 0700) && errno != EEXIST) {
            int number = errno;
            char at[PATH_MAX];
            memcpy(at, root, sizeof at);
            *p = kept;
            fail("the directory %s cannot be made: %s; another place can be named in COCKPIT_UNPACK", at,
                 strerror(number));
        }
        *p = kept;
        if (!kept)
            break;
    }
    struct stat s;
    if (stat(root, &s) || !S_ISDIR(s.st_mode))
        fail("%s is not a directory; name another one in COCKPIT_UNPACK", root);
    if (s.st_uid != geteuid() || (s.st_mode & 022))
        fail("%s belongs to somebody else, or others may write to it; name another one in COCKPIT_UNPACK", root);
}

static char *unpack(struct archive *a)
{
    static char dir[PATH_MAX], fresh[PATH_MAX], aside[PATH_MAX], what[1024];
    strcpy(dir, join(root, a->digest));
    char hidden[DIGEST + 8];
    snprintf(hidden, sizeof hidden, ".%s.lock", a->digest);
    /* one at a time: the other finds it done */
    int lock = open(join(root, hidden), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX))
        stuck(a, "locking", errno);
    if (whole(a, dir, what, sizeof what)) {
        close(lock);
        return dir;
    }
    snprintf(hidden, sizeof hidden, ".%s.new", a->digest);
    strcpy(fresh, join(root, hidden));
    put(a, fresh);
    sync_dir(fresh);
    snprintf(hidden, sizeof hidden, ".%s.old", a->digest);
    strcpy(aside, join(root, hidden));
    erase(aside);
    if (!rename(dir, aside))
        fprintf(stderr, "cockpit-agent: %s was damaged (%s) and is replaced\n", dir, what);
    else if (errno != ENOENT)
        stuck(a, "moving the damaged directory aside", errno);
    if (rename(fresh, dir))
        stuck(a, "renaming", errno);
    half = NULL;
    sync_dir(root);
    erase(aside);
    close(lock);
    return dir;
}

int main(int argc, char **argv)
{
    static struct archive a;
    for (int fd; (fd = open("/dev/null", O_RDWR)) >= 0;) /* 0, 1 and 2 are open, or become so */
        if (fd > 2) {
            close(fd);
            break;
        }
    locate(&a);
    make_root();
    char *dir = unpack(&a);
    char **again = calloc((size_t)argc + 5, sizeof *again);
    if (!again)
        fail("no memory");
    int n = 0;
    again[n++] = strdup(join(dir, PROGRAM));
    again[n++] = "-I";
    again[n++] = "-S";
    again[n++] = strdup(join(dir, "app"));
    for (int i = 1; i < argc; i++)
        again[n++] = argv[i];
    execv(again[0], again);
    if (errno == EACCES)
        fail("%s may not be executed: is its file system mounted noexec? Name another place in COCKPIT_UNPACK",
             again[0]);
    fail("%s cannot be started: %s", again[0], strerror(errno));
}
