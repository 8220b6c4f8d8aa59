package main

import (
	"io"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

// logTo lets the libraries log to out at a level. At 0 they say nothing: what they would say, and matters, comes back
// as errors. Their loggers belong to the process.
func logTo(out io.Writer, level int) {
	logger := logr.Discard()
	if level > 0 {
		logger = textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(level), textlogger.Output(out)))
	}
	klog.SetLoggerWithOptions(logger, klog.ContextualLogger(true))
}
