// Command pause is the first process of every pod: it holds the pod's namespaces, reaps, and waits to be told to stop.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	signal.Ignore(syscall.SIGCHLD) // an ignored SIGCHLD makes the kernel reap orphans itself
	<-stop
}
