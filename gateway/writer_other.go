//go:build !linux

package gateway

import (
	"errors"
	"time"

	"github.com/labstack/echo/v4"
)

// loops are the epoll writers, which only Linux has.
type loops struct{}

// startLoops refuses what is not possible here.
func (s *Server) startLoops() (*loops, error) {
	if s.cfg.Writer == WriterEpoll {
		return nil, errors.New("GATEWAY_WRITER=epoll is possible on Linux only")
	}
	return nil, nil
}

func (*loops) take(echo.Context, carried) bool { return false }
func (*loops) drain(time.Duration)             {}
func (*loops) close()                          {}
