// Package avro stands in for a library that Go's module proxy does not serve. daprd sets limits in it for its Pulsar
// component, which this project does not use.
package avro

// Config has the limits that daprd sets.
type Config struct {
	MaxSliceAllocSize, MaxMapAllocSize int
}

// Freeze returns the configuration unchanged.
func (config Config) Freeze() Config { return config }

// DefaultConfig is read by nothing here.
var DefaultConfig Config
