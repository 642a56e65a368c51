package redismodel

import (
	"slices"
	"strings"
)

// The commands of pub/sub; s.mu is held in all of them.

func (c *client) subscriptions() int64 { return int64(len(c.channels) + len(c.patterns)) }

func subscribe(s *Server, c *client, args []string) any {
	for _, channel := range args {
		if !slices.Contains(c.channels, channel) {
			c.channels = append(c.channels, channel)
			s.channels[channel] = append(s.channels[channel], c)
		}
		c.append(pushReply(c.protocol, "subscribe", channel, c.subscriptions()))
	}
	return none{}
}

func psubscribe(s *Server, c *client, args []string) any {
	for _, pattern := range args {
		if !slices.Contains(c.patterns, pattern) {
			c.patterns = append(c.patterns, pattern)
			s.patterns = append(s.patterns, subscription{pattern, c})
		}
		c.append(pushReply(c.protocol, "psubscribe", pattern, c.subscriptions()))
	}
	return none{}
}

func unsubscribe(s *Server, c *client, args []string) any {
	if len(args) == 0 {
		args = slices.Clone(c.channels)
	}
	if len(args) == 0 {
		c.append(pushReply(c.protocol, "unsubscribe", nil, c.subscriptions()))
	}
	for _, channel := range args {
		c.channels = without(c.channels, channel)
		s.leave(channel, c)
		c.append(pushReply(c.protocol, "unsubscribe", channel, c.subscriptions()))
	}
	return none{}
}

func punsubscribe(s *Server, c *client, args []string) any {
	if len(args) == 0 {
		args = slices.Clone(c.patterns)
	}
	if len(args) == 0 {
		c.append(pushReply(c.protocol, "punsubscribe", nil, c.subscriptions()))
	}
	for _, pattern := range args {
		c.patterns = without(c.patterns, pattern)
		s.patterns = slices.DeleteFunc(s.patterns, func(p subscription) bool { return p.client == c && p.pattern == pattern })
		c.append(pushReply(c.protocol, "punsubscribe", pattern, c.subscriptions()))
	}
	return none{}
}

func without(names []string, name string) []string {
	return slices.DeleteFunc(names, func(n string) bool { return n == name })
}

// leave takes a client off a channel.
func (s *Server) leave(channel string, c *client) {
	left := slices.DeleteFunc(s.channels[channel], func(other *client) bool { return other == c })
	if len(left) == 0 {
		delete(s.channels, channel)
	} else {
		s.channels[channel] = left
	}
}

// unsubscribeAll takes a client off everything, without a word to it.
func (s *Server) unsubscribeAll(c *client) {
	for _, channel := range c.channels {
		s.leave(channel, c)
	}
	s.patterns = slices.DeleteFunc(s.patterns, func(p subscription) bool { return p.client == c })
	c.channels, c.patterns = nil, nil
}

func publish(s *Server, _ *client, args []string) any {
	channel, payload, n := args[0], args[1], int64(0)
	for _, c := range s.channels[channel] {
		c.push(pushReply(c.protocol, "message", channel, payload))
		n++
	}
	for _, p := range s.patterns {
		if matches(p.pattern, channel) {
			p.client.push(pushReply(p.client.protocol, "pmessage", p.pattern, channel, payload))
			n++
		}
	}
	return n
}

func pubsub(s *Server, _ *client, args []string) any {
	switch strings.ToUpper(args[0]) {
	case "NUMSUB":
		out := pairs{}
		for _, channel := range args[1:] {
			out = append(out, channel, int64(len(s.channels[channel])))
		}
		return []any(out)
	case "NUMPAT":
		return int64(len(s.patterns))
	default:
		return failure("ERR unknown subcommand '" + args[0] + "'. Try PUBSUB HELP.")
	}
}

// matches reports whether name is of a pattern, in which * stands for anything and ? for one byte.
func matches(pattern, name string) bool {
	for pattern != "" {
		switch pattern[0] {
		case '*':
			for i := 0; i <= len(name); i++ {
				if matches(pattern[1:], name[i:]) {
					return true
				}
			}
			return false
		case '?':
			if name == "" {
				return false
			}
		default:
			if name == "" || name[0] != pattern[0] {
				return false
			}
		}
		pattern, name = pattern[1:], name[1:]
	}
	return name == ""
}
