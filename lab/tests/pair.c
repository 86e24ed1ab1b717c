/* pair server|client ADDRESS PORT: each call stands alone on a line that has its name. */

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static ssize_t say(int fd, const char *text)
{
	return send(fd, text, strlen(text), 0);
}

/* Not inlined, and the last thing it does is a call: a compiler makes a jump of it. */
__attribute__((noinline)) static ssize_t say_and_return(int fd, const char *text)
{
	return write(fd, text, strlen(text));
}

static inline int answer(int fd)
{
	char text[64];
	struct iovec piece = { text, 0 };

	ssize_t count =
		recv(fd, text, sizeof text, 0);
	piece.iov_len = count;
	return count > 0 && writev(fd, &piece, 1) == count;
}

static int serve(int listener)
{
	int fd = accept(listener, NULL, NULL);

	while (answer(fd)) {
	}
	return close(fd);
}

static int ask(int fd)
{
	char text[64];

	if (say(fd, "one") != 3 || recv(fd, text, sizeof text, 0) != 3)
		return 1;
	if (say_and_return(fd, "four") != 4)
		return 1;
	if (read(fd, text, sizeof text) != 4)
		return 1;
	return shutdown(fd, SHUT_WR);
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (argc != 4)
		return 2;
	inet_pton(AF_INET, argv[2], &at.sin_addr);
	at.sin_port = htons(atoi(argv[3]));
	if (strcmp(argv[1], "client") == 0) {
		if (connect(fd, (struct sockaddr *)&at, sizeof at))
			return 1;
		return ask(fd);
	}
	if (bind(fd, (struct sockaddr *)&at, sizeof at))
		return 1;
	listen(fd, 1);
	return serve(fd);
}
