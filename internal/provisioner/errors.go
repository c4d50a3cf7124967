package provisioner

import (
	"time"

	"chancery/internal/failure"
)

// unauthorized says which check a token has not passed.
func unauthorized(format string, args ...any) *failure.Error {
	return failure.New(failure.Unauthorized, format, args...)
}

// malformed says why a token can't be read.
func malformed(format string, args ...any) *failure.Error {
	return failure.New(failure.Malformed, format, args...)
}

// unavailable says what could not be asked just now.
func unavailable(after time.Duration, format string, args ...any) *failure.Error {
	err := failure.New(failure.Unavailable, format, args...)
	err.RetryAfter = after
	return err
}
