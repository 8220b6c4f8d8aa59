package main

import (
	"fmt"

	"k8s.io/client-go/features"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // makes the format json known
)

// setUpLogging makes klog write as configured. It can be done once in a process.
func setUpLogging(config *driverConfig) error {
	// client-go logs its feature gates, a line for each, when it first looks at them. It had better do so while nothing
	// is logged but errors.
	_ = features.FeatureGates().Enabled(features.WatchListClient)

	logging := logsapi.NewLoggingConfiguration()
	logging.Format = config.Logging.Format
	logging.Verbosity = logsapi.VerbosityLevel(*config.Logging.Verbosity)
	if err := logsapi.ValidateAndApply(logging, nil); err != nil {
		return fmt.Errorf("set up logging: %w", err)
	}
	return nil
}
