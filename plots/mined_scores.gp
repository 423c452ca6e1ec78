# Redraw with `gnuplot mined_scores.gp` in the folder that holds this, both styles and the data.
load 'mined_style.gp'
data = 'mined_scores.tsv'
stats data using (note('scores_log2')) nooutput
y_min = 1
seen(y) = y > 0 && y < y_min ? (y_min = y, 0) : 0
stats data using (seen(column('mean'))) nooutput
do for [t in 'svg png'] {
    eval open(t, 'mined_scores')
    set logscale y
    set format y '10^{%T}'
    set xlabel 'score, 99 bins of equal width'
    set ylabel 'share of all scores > 0'
    set xrange [0 : 1]
    set yrange [y_min / 1.5 : 1]
    eval panel(2, 1)
    set termoption enhanced
    plot for [i = 1:4] data using (head_x('scores_linear', i) + 0.5 / 99):(share(column('mean'))) with lines lw 1 lc rgb head_pale(i), \
        data using (mean_x('scores_linear') + 0.5 / 99):(share(column('mean'))):(low('lo')):'hi' with yerrorlines lw 1.5 pt 7 ps 0.3 lc rgb style_mean
    unset label 99
    set logscale x 2
    set format x '2^{%L}'
    set xrange [2.0**-25 : 1]
    set yrange [y_min / 1.5 : 1]
    set xtics nomirror 16
    set xlabel 'score, bins that halve; the leftmost holds all that is smaller'
    unset ylabel
    eval panel(2, 2)
    plot for [i = 1:4] data using (head_x('scores_log2', i) > 0 ? head_x('scores_log2', i) * 1.414 : head_x('scores_log2', i) + 2.0**-24.5):(share(column('mean'))) with lines lw 1 lc rgb head_pale(i), \
        data using (mean_x('scores_log2') > 0 ? mean_x('scores_log2') * 1.414 : mean_x('scores_log2') + 2.0**-24.5):(share(column('mean'))):(low('lo')):'hi' with yerrorlines lw 1.5 pt 7 ps 0.4 lc rgb style_mean
    set termoption noenhanced
    eval legend(heads_legend.', '.mean_legend)
    eval close
}
