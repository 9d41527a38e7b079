/* The floor: vfork, exec, read to the end, wait; nothing else. Reads how many and by how many threads, a line each time,
   and prints the durations in ns, thread by thread. */

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int64_t once(char **argv)
{
	int64_t begin = now();
	int out[2], status;
	char buffer[65536];
	if (pipe2(out, O_CLOEXEC))
		exit(1);
	pid_t pid = vfork();
	if (pid == 0) {
		dup2(out[1], 1);
		execv(argv[0], argv);
		_exit(127);
	}
	close(out[1]);
	while (read(out[0], buffer, sizeof buffer) > 0)
		;
	close(out[0]);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		exit(1);
	return now() - begin;
}

struct job {
	pthread_t thread;
	char **argv;
	long count;
	int64_t *times;
};

static void *repeat(void *argument)
{
	struct job *job = argument;
	for (long i = 0; i < job->count; i++)
		job->times[i] = once(job->argv);
	return NULL;
}

int main(int argc, char **argv)
{
	long count, threads;
	if (argc < 2)
		return 64;
	while (scanf("%ld %ld", &count, &threads) == 2) {
		struct job *jobs = calloc(threads, sizeof *jobs);
		int64_t *times = calloc(count * threads, sizeof *times);
		if (!jobs || !times)
			return 1;
		for (long i = 0; i < threads; i++) {
			jobs[i] = (struct job){0, argv + 1, count, times + i * count};
			if (pthread_create(&jobs[i].thread, NULL, repeat, &jobs[i]))
				return 1;
		}
		for (long i = 0; i < threads; i++)
			pthread_join(jobs[i].thread, NULL);
		for (long i = 0; i < count * threads; i++)
			printf("%lld\n", (long long)times[i]);
		fflush(stdout);
		free(times);
		free(jobs);
	}
	return 0;
}
