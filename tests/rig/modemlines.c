/* Modem lines for the ports of the rig's null modem, which are ptys and have none: a shim before ioctl(2), preloaded.
 *
 * MODEM_LINES=FILE:PORT:PORT names the two ports, and a file that both ends share. An end that raises DTR locks its
 * byte of the file; the kernel lets go of the lock when the process dies, however it dies, as the last close of a real
 * port drops the line. The file's first byte is '1' while the cable is cut. The cable is a full one: DTR shows as DSR
 * and CD at the other end, and RTS, which goes with DTR here, as CTS.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int lines[2] = {-1, -1}; /* one description for each end: locks of one description never meet */
static int raised[2];
static dev_t ports[2];

__attribute__((constructor)) static void begin(void)
{
    const char *setting = getenv("MODEM_LINES");
    char *words = setting == NULL ? NULL : strdup(setting);
    char *rest = NULL;
    const char *file = words == NULL ? NULL : strtok_r(words, ":", &rest);
    for (int end = 0; file != NULL && end < 2; end++) {
        const char *port = strtok_r(NULL, ":", &rest);
        struct stat status;
        if (port != NULL && stat(port, &status) == 0) {
            ports[end] = status.st_rdev;
            lines[end] = open(file, O_RDWR | O_CLOEXEC);
        }
    }
    free(words);
}

static int lock(int end, int command, int byte, short type)
{
    struct flock wanted = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(lines[end], command, &wanted) == 0 && wanted.l_type != F_UNLCK;
}

static int look(int end)
{
    char cut = '0';
    int bits = raised[end] ? TIOCM_DTR | TIOCM_RTS : 0;
    if (pread(lines[end], &cut, 1, 0) == 1 && cut == '0' && lock(end, F_OFD_GETLK, 2 - end, F_WRLCK))
        bits |= TIOCM_DSR | TIOCM_CD | TIOCM_CTS;
    return bits;
}

static void raise_dtr(int end, int up)
{
    raised[end] = up;
    lock(end, F_OFD_SETLK, 1 + end, up ? F_WRLCK : F_UNLCK);
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    int *bits = va_arg(arguments, int *);
    va_end(arguments);
    struct stat status;
    if ((request == TIOCMGET || request == TIOCMSET || request == TIOCMBIS || request == TIOCMBIC)
        && fstat(fd, &status) == 0 && S_ISCHR(status.st_mode)) {
        for (int end = 0; end < 2; end++) {
            if (lines[end] < 0 || status.st_rdev != ports[end])
                continue;
            if (request == TIOCMGET)
                *bits = look(end);
            else if (request == TIOCMSET || *bits & TIOCM_DTR)
                raise_dtr(end, request != TIOCMBIC && *bits & TIOCM_DTR);
            return 0;
        }
    }
    return (int)syscall(SYS_ioctl, fd, request, bits);
}
