package suite

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// JUnit reports in the format that CI systems read, when all cases have ended.
type JUnit struct {
	Out io.Writer
	// Suite names what was run: "check".
	Suite string
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure"`
	Skipped *junitMessage `xml:"skipped"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// Begin says nothing.
func (j *JUnit) Begin([]Case) {}

// Started says nothing.
func (j *JUnit) Started(Case) {}

// Ended says nothing.
func (j *JUnit) Ended(Result) {}

// End writes the document.
func (j *JUnit) End(s Summary) error {
	suite := junitSuite{
		Name: "dra-sanity " + j.Suite, Tests: len(s.Results), Failures: s.Failed, Skipped: s.NotRun,
		Time: fmt.Sprintf("%.3f", s.Duration.Seconds()),
	}
	for _, r := range s.Results {
		c := junitCase{Name: r.Case.Name, Class: suite.Name, Time: fmt.Sprintf("%.3f", r.Duration.Seconds())}
		c.Out = strings.Join(r.Notes, "\n")
		if r.Outcome == Failed {
			c.Failure = &junitMessage{r.Messages[0], r.explanation()}
		}
		if r.Outcome == NotRun {
			c.Skipped = &junitMessage{Message: r.Reason}
		}
		suite.Cases = append(suite.Cases, c)
	}
	text, err := xml.MarshalIndent(suite, "", "  ")
	if err == nil {
		_, err = fmt.Fprintf(j.Out, "%s%s\n", xml.Header, text)
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
