package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// lastWords is how long a command has, after a signal, to remove what it began to write. One that reads stdin, or
// computes, does not notice the signal at all.
const lastWords = 300 * time.Millisecond

// untilSignal runs a command and returns its exit code. The first SIGINT or SIGTERM ends it, whatever it does; the exit
// code is then what shells have for a process that died of the signal: 130, 143.
func untilSignal(command func(context.Context) int) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan int, 1)
	go func() { ended <- command(ctx) }()
	select {
	case code := <-ended:
		return code
	case s := <-signals:
		signal.Stop(signals) // a second one ends the process at once
		cancel()
		select {
		case <-ended:
		case <-time.After(lastWords):
		}
		return exitCodeOf(s)
	}
}

func exitCodeOf(s os.Signal) int {
	if number, known := s.(syscall.Signal); known {
		return 128 + int(number)
	}
	return exitCannotTell
}
