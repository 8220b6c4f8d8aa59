// The program control stands in for nvidia-cuda-mps-control in tests: with -f it is the daemon, without it sends what
// comes on standard input to the daemon. The daemon writes what it is told and its environment into the log directory,
// where files of the test say how it misbehaves.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	pipe, log := os.Getenv("CUDA_MPS_PIPE_DIRECTORY"), os.Getenv("CUDA_MPS_LOG_DIRECTORY")
	socket := filepath.Join(pipe, "control")
	if len(os.Args) > 1 && os.Args[1] == "-f" {
		daemon(socket, log)
		return
	}
	connection, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Println("Cannot find MPS control daemon process")
		os.Exit(1)
	}
	_, _ = io.Copy(connection, os.Stdin)
	_ = connection.(*net.UnixConn).CloseWrite()
	_, _ = io.Copy(os.Stdout, connection)
}

func misbehaves(log, how string) bool {
	_, err := os.Stat(filepath.Join(log, how))
	return err == nil
}

func daemon(socket, log string) {
	if misbehaves(log, "refuses-to-start") {
		fmt.Println("An instance of this daemon is already running")
		os.Exit(1)
	}
	note := func(line string) {
		file, err := os.OpenFile(filepath.Join(log, "told"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err == nil {
			_, _ = fmt.Fprintln(file, line)
			_ = file.Close()
		}
	}
	shm := "no"
	if _, err := os.Stat("/dev/shm/mine"); err == nil {
		shm = "yes"
	}
	note(fmt.Sprintf("start devices=%s pipe=%s mine=%s", os.Getenv("CUDA_VISIBLE_DEVICES"), filepath.Dir(socket), shm))
	for misbehaves(log, "is-slow") {
		time.Sleep(10 * time.Millisecond)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			os.Exit(1)
		}
		for lines := bufio.NewScanner(connection); lines.Scan(); {
			command := lines.Text()
			switch {
			case command == "get_server_list":
			case command == "quit" && misbehaves(log, "does-not-quit"):
			case command == "quit":
				note("quit")
				os.Exit(0)
			case strings.HasPrefix(command, "set_") && misbehaves(log, "refuses-limits"):
				_, _ = fmt.Fprintln(connection, "Invalid argument")
			default:
				note(command)
			}
		}
		_ = connection.Close()
	}
}
