#!/usr/bin/env perl
# Merges what the checks found into review.md (for people), review.sarif (for code hosts and editors, SARIF 2.1.0) and
# findings.json (for programs).

use strict;
use warnings;
use lib __FILE__ =~ m{\A(.*)/}s ? $1 : '.';
use Findings;
use Json;
use Report;
use Rules;

use constant VERSION => '1.0.0';
# Rows of the table in review.md; all findings are in the two other files.
use constant MAX_ROWS => 300;
# SARIF knows three levels of result.
my %LEVEL = (high => 'error', medium => 'warning', low => 'note', note => 'note');

my ($findings, $summary, $survey) = Findings::gather();
my $count = Findings::by_severity($findings);
my $verdict = $count->{high} ? 'escalate' : 'clear';

Report::artifact('findings.json', findings_json());
Report::artifact('review.sarif', sarif());
Report::artifact('review.md', markdown());
Report::output({verdict => $verdict, count => Json::num(scalar @$findings), map { $_ => Json::num($count->{$_}) } @Rules::SEVERITIES});
Report::say_line("package: $verdict; " . Report::counted($count) . '; wrote review.md, review.sarif, findings.json');

sub numbered { my ($found) = @_; return {%$found, map { $_ => Json::num($found->{$_}) } qw(line column)} }

sub findings_json {
    return Json::encode({
        survey   => $survey,
        verdict  => $verdict,
        counts   => Report::numbers($count),
        checks   => $summary,
        findings => [map { numbered($_) } @$findings],
    }) . "\n";
}

sub sarif {
    my $index = 0;
    my %index = map { $_ => $index++ } @Rules::IDS;
    my @rules = map {
        my $rule = $Rules::RULE{$_};
        {
            id => $_,
            name => join('', map { ucfirst } split /-/, $rule->{name}),
            shortDescription => {text => $rule->{finds}},
            fullDescription => {text => "$rule->{finds} $rule->{advice}"},
            help => {text => $rule->{advice}},
            defaultConfiguration => {level => $LEVEL{$rule->{severity}}},
            properties => {
                severity => $rule->{severity},
                tags => [/\AEPR-S/ ? 'security' : /\AEPR-[LC]/ ? 'correctness' : 'maintainability'],
            },
        }
    } @Rules::IDS;
    my @results = map {
        {
            ruleId => $_->{rule},
            ruleIndex => Json::num($index{$_->{rule}}),
            level => $LEVEL{$_->{severity}},
            message => {text => Report::plain($_->{message})},
            locations => [{physicalLocation => {
                artifactLocation => {uri => $_->{uri}, uriBaseId => '%SRCROOT%'},
                region => {startLine => Json::num($_->{line}), startColumn => Json::num($_->{column})},
            }}],
            partialFingerprints => {'eparchFinding/v1' => $_->{fingerprint}},
            properties => {severity => $_->{severity}},
        }
    } @$findings;
    return Json::encode({
        '$schema' => 'https://json.schemastore.org/sarif-2.1.0.json',
        version => '2.1.0',
        runs => [{
            tool => {driver => {name => 'eparch-code-review', version => VERSION, semanticVersion => VERSION, rules => \@rules}},
            columnKind => 'unicodeCodePoints',
            originalUriBaseIds => {'%SRCROOT%' => {description => {text => 'The top folder of the checkout that was reviewed.'}}},
            automationDetails => {id => 'eparch/code-review/'},
            invocations => [{
                executionSuccessful => \1,
                toolExecutionNotifications => [map { {level => 'note', message => {text => $_}} } not_looked_at()],
            }],
            properties => {head => $survey->{head}, branch => $survey->{branch}, verdict => $verdict},
            results => \@results,
        }],
    }) . "\n";
}

sub files { return $_[0] == 1 ? '1 file' : "$_[0] files" }

# A sentence for everything that was left out, so that silence is never mistaken for a clean bill.
sub not_looked_at {
    my @sentences;
    for my $check (Findings::CHECKS()) {
        my $about = $summary->{$check};
        push @sentences, map { "$check: " . files(${$about->{skipped}{$_}}) . " not read: $_." } sort keys %{$about->{skipped}};
        push @sentences, map { "$check: ${$about->{dropped}{$_}} more findings of $_ are not listed." } sort keys %{$about->{dropped}};
    }
    return @sentences;
}

sub markdown {
    my $head = defined $survey->{head} ? substr $survey->{head}, 0, 12 : 'no commit';
    my $where = defined $survey->{branch} ? ' on ' . Report::code($survey->{branch}) : '';
    my $text = "# Code review: $verdict\n\n";
    $text .= 'Commit ' . Report::code($head) . "$where, ${$survey->{files}} tracked files, ${$survey->{modified}} of them modified since.\n";
    $text .= 'Result: ' . Report::counted($count) . ".\n\n";
    if (@$findings) {
        $text .= "| severity | rule | place | what |\n|---|---|---|---|\n";
        my $rows = 0;
        for my $found (@$findings) {
            last if ++$rows > MAX_ROWS;
            $text .= "| $found->{severity} | $found->{rule} | " . Report::code("$found->{path}:$found->{line}", 1) . ' | ' . Report::prose($found->{message}) . " |\n";
        }
        $text .= "\n" . (@$findings - MAX_ROWS) . " more are in `findings.json`.\n" if @$findings > MAX_ROWS;
        my %seen;
        my @ids = grep { !$seen{$_}++ } map { $_->{rule} } @$findings;
        $text .= "\n## What to do\n\n";
        $text .= "- **$_** $Rules::RULE{$_}{name}: $Rules::RULE{$_}{advice}\n" for @ids;
    }
    $text .= "\n## What was looked at\n\n";
    for my $check (Findings::CHECKS()) {
        my $about = $summary->{$check};
        my $files = ${$about->{read}{files}};
        my @said = (($files ? files($files) . ' read' : ()), (map { "$_: $about->{tools}{$_}" } sort keys %{$about->{tools}}));
        $text .= "- $check: " . Report::prose(join('; ', @said, "${$about->{count}} found")) . '.' . join('', map { ' ' . Report::prose($_) } @{$about->{notes}}) . "\n";
    }
    my @left = not_looked_at();
    $text .= "\n## What was not looked at\n\n" . join('', map { '- ' . Report::prose($_) . "\n" } @left) if @left;
    my @languages = @{$survey->{languages}};
    splice @languages, 10 if @languages > 10;
    $text .= "\n## What is in it\n\n| language | files | bytes |\n|---|---:|---:|\n" if @languages;
    $text .= "| $_->{name} | ${$_->{files}} | ${$_->{bytes}} |\n" for @languages;
    return $text;
}
