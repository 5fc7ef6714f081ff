// It says when a CronJob fires, with the library and the calls of Kubernetes'
// CronJob controller, so that tests needn't wait for a clock to change.
//
// Each line of standard input is a JSON object: schedule, timeZone, after (seconds
// since 1970) and count. Each line of the answer has either times, in seconds
// again, fewer than count where nothing follows, or error.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	_ "time/tzdata" // the controller manager has it for machines without zones

	"github.com/robfig/cron/v3"
)

type question struct {
	Schedule string `json:"schedule"`
	TimeZone string `json:"timeZone"`
	After    int64  `json:"after"`
	Count    int    `json:"count"`
}

type answer struct {
	Times []int64 `json:"times"`
	Error string  `json:"error,omitempty"`
}

// schedule is read as validateScheduleFormat, validateTimeZone and formatSchedule
// of Kubernetes do it together: the zone becomes a prefix of the text.
func schedule(asked question) (cron.Schedule, error) {
	if _, err := cron.ParseStandard(asked.Schedule); err != nil {
		return nil, err
	}
	if strings.Contains(asked.Schedule, "TZ") {
		return nil, errors.New("cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
	}
	if asked.TimeZone == "" || strings.EqualFold(asked.TimeZone, "Local") {
		return nil, errors.New("timeZone must be an explicit time zone")
	}
	if _, err := time.LoadLocation(asked.TimeZone); err != nil {
		return nil, err
	}
	return cron.ParseStandard(fmt.Sprintf("TZ=%s %s", asked.TimeZone, asked.Schedule))
}

func reply(asked question) answer {
	found, err := schedule(asked)
	if err != nil {
		return answer{Times: []int64{}, Error: err.Error()}
	}
	times := []int64{}
	next := time.Unix(asked.After, 0).UTC()
	for range asked.Count {
		next = found.Next(next)
		// The zero time stands for never.
		if next.IsZero() {
			break
		}
		times = append(times, next.Unix())
	}
	return answer{Times: times}
}

func main() {
	questions := json.NewDecoder(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for {
		var asked question
		err := questions.Decode(&asked)
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			err = answers.Encode(reply(asked))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "nextruns:", err)
			os.Exit(1)
		}
	}
}
